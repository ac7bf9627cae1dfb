//! Who acts: a person with a browser, an application with its credentials.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::server::Server;

/// A client without memory: no cookies, and no connection that outlives the runtime of the test that made it.
pub fn http() -> Client {
    static HTTP: LazyLock<Client> = LazyLock::new(|| {
        Client::builder().redirect(Policy::none()).pool_max_idle_per_host(0).build().unwrap()
    });
    HTTP.clone()
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null where the body is not JSON.
    pub json: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, json }
    }

    /// A member of the JSON body, as text.
    pub fn member(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_else(|| panic!("there is no text {name} in {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `error` of an OAuth refusal, with the status before it: `400 invalid_grant`.
    pub fn refusal(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.json["error"].as_str().unwrap_or(&self.text))
    }
}

/// Where a browser was sent.
#[derive(Debug)]
pub struct Redirected {
    pub location: String,
    pub parameters: HashMap<String, String>,
}

impl Redirected {
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let location = answer.header("location").to_owned();
        let parameters = match Url::parse(&location) {
            Ok(url) => url.query_pairs().into_owned().collect(),
            Err(_) => HashMap::new(),
        };
        Self { location, parameters }
    }

    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// A proof key (RFC 7636), the same for every test: nothing depends on its secrecy here.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A person with a browser: it keeps cookies and shows where it was sent rather than going there.
pub struct Person {
    pub email: String,
    pub password: String,
    pub browser: Client,
    address: String,
}

impl Person {
    pub fn new(server: &Server, email: &str, password: &str) -> Self {
        Self::at(&server.address, email, password)
    }

    /// Somebody who uses the server at this address.
    pub fn at(address: &str, email: &str, password: &str) -> Self {
        let browser =
            Client::builder().redirect(Policy::none()).cookie_store(true).build().unwrap();
        Self {
            email: email.to_owned(),
            password: password.to_owned(),
            browser,
            address: address.to_owned(),
        }
    }

    pub async fn id(&self, server: &Server) -> entity::UserId {
        let found =
            portcullis::identity::find_user_by_email(server.app.db.reader(), &self.email).await;
        found.unwrap().unwrap().id
    }

    pub async fn gets(&self, path: &str) -> Answer {
        Answer::of(self.browser.get(format!("{}{path}", self.address)).send().await.unwrap()).await
    }

    pub async fn posts(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.posts_with(path, form, &[]).await
    }

    /// Opens a page, fills in the form on it that goes to `action`, and sends it, with what is hidden in it and the
    /// password where it asks for that. Of the fields that are shown, only those given are sent.
    pub async fn fills_in(&self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let opened = self.gets(page).await;
        assert_eq!(opened.status, StatusCode::OK, "{page}: {opened:?}");
        self.sends_form(&opened.text, action, fields).await
    }

    /// The same, on a page that is open.
    pub async fn sends_form(&self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let form = form_to(page, action);
        let mut all = hidden_fields(form);
        if form.contains(r#"name="password""#) {
            all.push(("password".to_owned(), self.password.clone()));
        }
        let given = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let is_given = |name: &str| fields.iter().any(|(it, _)| *it == name);
        all.retain(|(name, _)| !is_given(name));
        all.extend(given);
        let fields: Vec<(&str, &str)> =
            all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.posts(action, &fields).await
    }

    /// Posts with further headers, as a page of another site or a proxy would make the browser do.
    pub async fn posts_with(
        &self,
        path: &str,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.browser.post(format!("{}{path}", self.address)).form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Goes where an answer sent the browser, if that is a page of ours.
    pub async fn follows(&self, answer: &Answer) -> Answer {
        let location = &Redirected::of(answer).location;
        assert!(location.starts_with('/'), "{location} is not ours");
        let url = Url::parse(&self.address).unwrap().join(location).unwrap();
        Answer::of(self.browser.get(url).send().await.unwrap()).await
    }

    pub async fn logs_in(&self) {
        let answer =
            self.posts("/login", &[("email", &self.email), ("password", &self.password)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    }

    /// Sends the browser to the authorization endpoint with these parameters.
    pub async fn visits(&self, query: &[(&str, &str)]) -> Answer {
        let url =
            Url::parse_with_params(&format!("{}/oauth/authorize", self.address), query).unwrap();
        Answer::of(self.browser.get(url).send().await.unwrap()).await
    }

    /// Visits, and answers the consent page where one is shown.
    pub async fn decides(&self, query: &[(&str, &str)], decision: &str) -> Redirected {
        let page = self.visits(query).await;
        if page.status == StatusCode::SEE_OTHER {
            return Redirected::of(&page);
        }
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let request =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let organization = first_organization(&page.text);
        let form = [
            ("request", request.as_str()),
            ("organization", &organization),
            ("decision", decision),
        ];
        Redirected::of(&self.posts("/oauth/authorize/consent", &form).await)
    }

    /// Logs in, approves what the application asks for, and hands over the code.
    pub async fn approves(&self, app: &Application, scope: &str) -> String {
        self.logs_in().await;
        self.approves_again(app, scope).await
    }

    /// Approves what the application asks for, logged in before, and hands over the code.
    pub async fn approves_again(&self, app: &Application, scope: &str) -> String {
        self.answers(&app.request(scope)).await
    }

    /// Approves the request with these parameters, logged in before, and hands over the code.
    pub async fn answers(&self, query: &[(&str, &str)]) -> String {
        let redirected = self.decides(query, "allow").await;
        assert!(!redirected.get("code").is_empty(), "{redirected:?}");
        redirected.get("code").to_owned()
    }
}

/// The organization that the consent page offers first.
pub fn first_organization(page: &str) -> String {
    let at = page.find("value=\"org_").unwrap_or_else(|| panic!("no organization on {page}"));
    page[at + 7..].split('"').next().unwrap().to_owned()
}

/// An application with its credentials.
pub struct Application {
    pub id: String,
    pub secret: Option<String>,
    pub redirect_uri: String,
    pub http: Client,
    address: String,
}

impl Application {
    pub fn new(server: &Server, id: String, secret: Option<String>, redirect_uri: String) -> Self {
        Self::at(&server.address, id, secret, redirect_uri)
    }

    /// An application that uses the server at this address.
    pub fn at(address: &str, id: String, secret: Option<String>, redirect_uri: String) -> Self {
        Self { id, secret, redirect_uri, http: http(), address: address.to_owned() }
    }

    /// The same application, at another server.
    pub fn moved_to(&self, server: &Server) -> Self {
        Self::new(server, self.id.clone(), self.secret.clone(), self.redirect_uri.clone())
    }

    /// The parameters of an authorization request with PKCE; `scope` is left out where it is empty.
    pub fn request<'a>(&'a self, scope: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("state", "xyz"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        if !scope.is_empty() {
            query.push(("scope", scope));
        }
        query
    }

    /// Posts a form to an endpoint, with the client's credentials in the body.
    pub async fn posts(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut form = form.to_vec();
        form.push(("client_id", &self.id));
        if let Some(secret) = &self.secret {
            form.push(("client_secret", secret));
        }
        self.posts_as_it_is(path, &form).await
    }

    /// Posts a form to an endpoint, with nothing added.
    pub async fn posts_as_it_is(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        Answer::of(
            self.http.post(format!("{}{path}", self.address)).form(form).send().await.unwrap(),
        )
        .await
    }

    pub async fn redeems(&self, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        self.posts("/oauth/token", &form).await
    }

    pub async fn refreshes(&self, token: &str) -> Answer {
        self.posts("/oauth/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
            .await
    }

    pub async fn acts_for_itself(&self, scope: &str) -> Answer {
        self.posts("/oauth/token", &[("grant_type", "client_credentials"), ("scope", scope)]).await
    }

    pub async fn revokes(&self, token: &str) -> Answer {
        self.posts("/oauth/revoke", &[("token", token)]).await
    }

    pub async fn introspects(&self, token: &str) -> Answer {
        self.posts("/oauth/introspect", &[("token", token)]).await
    }

    /// Posts a form to an endpoint, with credentials in a Basic header as they are given.
    pub async fn posts_with_basic(
        &self,
        path: &str,
        (name, secret): (&str, &str),
        form: &[(&str, &str)],
    ) -> Answer {
        let request = self.http.post(format!("{}{path}", self.address)).form(form);
        Answer::of(request.basic_auth(name, Some(secret)).send().await.unwrap()).await
    }
}

/// The claims of an access token, unverified.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The JOSE header of an access token.
pub fn jose_header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap_or_else(|| panic!("no JWT: {token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What a resource server with this credential is told of a token.
pub async fn introspect(server: &Server, credential: &str, token: &str) -> Answer {
    let request = http()
        .post(server.url("/oauth/introspect"))
        .bearer_auth(credential)
        .form(&[("token", token)]);
    Answer::of(request.send().await.unwrap()).await
}

/// The form on a page that goes to this address.
pub fn form_to<'a>(page: &'a str, action: &str) -> &'a str {
    let attribute = format!(r#"action="{action}""#);
    let at = page.find(&attribute).unwrap_or_else(|| panic!("no form goes to {action}: {page}"));
    page[at..].split("</form>").next().unwrap()
}

/// The names and values of what is hidden in a form.
fn hidden_fields(form: &str) -> Vec<(String, String)> {
    let attribute = |input: &str, name: &str| {
        let rest = input.split_once(&format!(r#"{name}=""#)).unwrap().1;
        rest.split('"').next().unwrap().to_owned()
    };
    let inputs = form.split("<input ").skip(1).map(|input| input.split('>').next().unwrap());
    let hidden = inputs.filter(|input| input.contains(r#"type="hidden""#));
    hidden.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect()
}
