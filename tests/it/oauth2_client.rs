//! The code flow as the `oauth2` crate drives it: a client that knows the RFCs and nothing of us.
//!
//! The server stands behind a proxy that ends TLS, as it does for real applications; the crate revokes over https only.

use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicRequestTokenError};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IntrospectionUrl, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RevocationUrl, Scope, StandardRevocableToken, TokenIntrospectionResponse as _,
    TokenResponse as _, TokenUrl,
};
use portcullis::config::Settings;
use rstest::rstest;

use crate::harness::actors::{claims, http};
use crate::harness::world::AUDIENCE;
use crate::harness::{Application, Database, Person, Server, World};

const ISSUER: &str = "https://auth.example.com";

async fn world(database: Database) -> Option<World> {
    let behind_proxy = |settings: &mut Settings| settings.issuer = ISSUER.to_owned();
    Some(World::around(Server::start_with(database, behind_proxy).await?).await)
}

/// The crate's HTTP client, and the proxy: what goes to the issuer arrives at the server.
struct Proxy {
    address: String,
}

type HttpError = oauth2::HttpClientError<reqwest::Error>;

impl<'c> oauth2::AsyncHttpClient<'c> for Proxy {
    type Error = HttpError;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let url = parts.uri.to_string().replacen(ISSUER, &self.address, 1);
            let sending = http().request(parts.method, url).headers(parts.headers).body(body);
            let response = sending.send().await.map_err(Box::new)?;
            let mut answer = oauth2::http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                answer = answer.header(name, value);
            }
            Ok(answer.body(response.bytes().await.map_err(Box::new)?.to_vec())?)
        })
    }
}

type Client = BasicClient<
    oauth2::EndpointSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointSet,
    oauth2::EndpointSet,
    oauth2::EndpointSet,
>;

fn client(app: &Application, auth_type: AuthType) -> Client {
    let mut client = BasicClient::new(ClientId::new(app.id.clone()));
    if let Some(secret) = &app.secret {
        client = client.set_client_secret(ClientSecret::new(secret.clone()));
    }
    let url = |path: &str| format!("{ISSUER}{path}");
    client
        .set_auth_type(auth_type)
        .set_redirect_uri(RedirectUrl::new(app.redirect_uri.clone()).unwrap())
        .set_auth_uri(AuthUrl::new(url("/oauth/authorize")).unwrap())
        .set_token_uri(TokenUrl::new(url("/oauth/token")).unwrap())
        .set_revocation_url(RevocationUrl::new(url("/oauth/revoke")).unwrap())
        .set_introspection_url(IntrospectionUrl::new(url("/oauth/introspect")).unwrap())
}

/// The owner with a session. The cookie is for https only; what talks to the server here is the proxy.
async fn logged_in(world: &World) -> Person {
    let mut ada = Person::new(&world.server, &world.owner.email, &world.owner.password);
    let form = [("email", ada.email.as_str()), ("password", &ada.password)];
    let answer = ada.posts("/login", &form).await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap().parse().unwrap();
    ada.browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .default_headers([(reqwest::header::COOKIE, cookie)].into_iter().collect())
        .build()
        .unwrap();
    ada
}

/// The person follows the client's link and agrees; what comes back at the redirect URI is checked as a client must.
async fn code(
    person: &Person,
    client: &Client,
    scopes: &[&str],
) -> (AuthorizationCode, PkceCodeVerifier) {
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (link, state) = client
        .authorize_url(CsrfToken::new_random)
        .add_scopes(scopes.iter().map(|scope| Scope::new((*scope).to_owned())))
        .set_pkce_challenge(challenge)
        .add_extra_param("resource", AUDIENCE)
        .url();
    assert!(link.as_str().starts_with(&format!("{ISSUER}/oauth/authorize?")));
    let query: Vec<(String, String)> = link.query_pairs().into_owned().collect();
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (&**name, &**value)).collect();
    let redirected = person.decides(&query, "allow").await;
    assert_eq!(redirected.get("state"), state.secret());
    assert_eq!(redirected.get("iss"), ISSUER);
    (AuthorizationCode::new(redirected.get("code").to_owned()), verifier)
}

fn error_of(error: &BasicRequestTokenError<HttpError>) -> &BasicErrorResponseType {
    match error {
        oauth2::RequestTokenError::ServerResponse(response) => response.error(),
        other => panic!("no answer of the server's: {other:?}"),
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_goes_all_the_way(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
    #[values(AuthType::BasicAuth, AuthType::RequestBody)] auth_type: AuthType,
) {
    let Some(world) = world(database).await else { return };
    let proxy = Proxy { address: world.server.address.clone() };
    let client = client(&world.confidential_app().await, auth_type);
    let ada = logged_in(&world).await;
    let (code, verifier) = code(&ada, &client, &["read:users", "write:tenants"]).await;
    let tokens =
        client.exchange_code(code).set_pkce_verifier(verifier).request_async(&proxy).await.unwrap();
    assert_eq!(tokens.token_type(), &oauth2::basic::BasicTokenType::Bearer);
    assert_eq!(tokens.expires_in(), Some(std::time::Duration::from_secs(600)));
    assert_eq!(claims(tokens.access_token().secret())["iss"], ISSUER);
    let mut scopes: Vec<&str> =
        tokens.scopes().unwrap().iter().map(|scope| scope.as_str()).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["read:users", "write:tenants"]);

    let first = tokens.refresh_token().unwrap();
    let narrowed = client
        .exchange_refresh_token(first)
        .add_scope(Scope::new("read:tenants".to_owned()))
        .request_async(&proxy)
        .await
        .unwrap();
    assert_eq!(claims(narrowed.access_token().secret())["scope"], "read:tenants");
    let second = narrowed.refresh_token().unwrap();
    assert_ne!(second.secret(), first.secret());

    let seen = client.introspect(narrowed.access_token()).request_async(&proxy).await.unwrap();
    assert!(seen.active());
    assert_eq!(seen.scopes().unwrap(), &vec![Scope::new("read:tenants".to_owned())]);
    assert_eq!(seen.client_id().map(|id| id.as_str()), Some(client.client_id().as_str()));

    let revoke = |token: StandardRevocableToken| client.revoke_token(token).unwrap();
    revoke(narrowed.access_token().clone().into()).request_async(&proxy).await.unwrap();
    let seen = client.introspect(narrowed.access_token()).request_async(&proxy).await.unwrap();
    assert!(!seen.active());
    let seen = client.introspect(tokens.access_token()).request_async(&proxy).await.unwrap();
    assert!(seen.active(), "the first access token has a life of its own");
    revoke(second.clone().into()).request_async(&proxy).await.unwrap();
    let seen = client.introspect(tokens.access_token()).request_async(&proxy).await.unwrap();
    assert!(!seen.active(), "the refresh token takes its grant along");
    let refused = client.exchange_refresh_token(second).request_async(&proxy).await.unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::InvalidGrant);

    let own = client
        .exchange_client_credentials()
        .add_scope(Scope::new("read:tenants".to_owned()))
        .request_async(&proxy)
        .await
        .unwrap();
    assert!(own.refresh_token().is_none());
    let seen = client.introspect(own.access_token()).request_async(&proxy).await.unwrap();
    assert!(seen.active());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_needs_no_secret_but_its_verifier(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = world(database).await else { return };
    let proxy = Proxy { address: world.server.address.clone() };
    let client = client(&world.public_app().await, AuthType::BasicAuth);
    let ada = logged_in(&world).await;
    let (stolen, _) = code(&ada, &client, &["read:tenants"]).await;
    let (_, wrong) = PkceCodeChallenge::new_random_sha256();
    let refused = client.exchange_code(stolen.clone()).set_pkce_verifier(wrong);
    let refused = refused.request_async(&proxy).await.unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::InvalidGrant);
    let refused = client.exchange_code(stolen).request_async(&proxy).await.unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::InvalidGrant);

    let (code, verifier) = code(&ada, &client, &["read:tenants"]).await;
    let exchange = client.exchange_code(code).set_pkce_verifier(verifier);
    let tokens = exchange.request_async(&proxy).await.unwrap();
    let refreshed = client.exchange_refresh_token(tokens.refresh_token().unwrap());
    refreshed.request_async(&proxy).await.unwrap();
    let refused = client.exchange_client_credentials().request_async(&proxy).await.unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::UnauthorizedClient);
    let garbage = RefreshToken::new("pc_rt_garbage".to_owned());
    let refused = client.exchange_refresh_token(&garbage).request_async(&proxy).await.unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::InvalidGrant);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_invalid_client_either_way(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
    #[values(AuthType::BasicAuth, AuthType::RequestBody)] auth_type: AuthType,
) {
    let Some(world) = world(database).await else { return };
    let proxy = Proxy { address: world.server.address.clone() };
    let mut app = world.confidential_app().await;
    app.secret = Some("pc_cs_wrong:+ %".to_owned());
    let refused = client(&app, auth_type)
        .exchange_client_credentials()
        .request_async(&proxy)
        .await
        .unwrap_err();
    assert_eq!(error_of(&refused), &BasicErrorResponseType::InvalidClient);
}
