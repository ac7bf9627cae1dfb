//! `portcullis token`: a token by the authorization-code flow with PKCE and a loopback redirect (RFC 8252).

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Html;
use axum::routing::get;
use clap::Args;
use oauth2::basic::{BasicClient, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _, TokenUrl,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Failure;
use super::context::{Context, secret_from_stdin};
use super::output;
use crate::http::Parameters;

/// How long a person may take to log in and agree.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args)]
#[command(after_help = "\
The client must have the redirect URI http://127.0.0.1/callback.

Example:
  TOKEN=$(portcullis token --client app_01j9zq4k2mfd8v6w3x5y7b1c0e --scope read:tenants)")]
pub(super) struct Token {
    /// The client's id
    #[arg(long)]
    client: String,
    /// A scope; repeat for more [default: the client's default scopes]
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// The audience of the resource server to ask for (RFC 8707)
    #[arg(long)]
    resource: Option<String>,
    /// Read a confidential client's secret from standard input
    #[arg(long)]
    client_secret_stdin: bool,
    /// Print the link instead of opening a browser
    #[arg(long)]
    no_browser: bool,
    /// Print the whole answer as JSON, the refresh token included
    #[arg(long)]
    json: bool,
}

impl Token {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let issuer = context.config()?.issuer;
        let secret = if self.client_secret_stdin { Some(secret_from_stdin()?) } else { None };
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("can't listen on 127.0.0.1")?;
        let redirect_uri = format!("http://{}/callback", listener.local_addr()?);

        let mut client = BasicClient::new(ClientId::new(self.client.clone()))
            .set_auth_uri(AuthUrl::new(format!("{issuer}/oauth/authorize"))?)
            .set_token_uri(TokenUrl::new(format!("{issuer}/oauth/token"))?)
            .set_redirect_uri(RedirectUrl::new(redirect_uri)?);
        if let Some(secret) = secret {
            use secrecy::ExposeSecret as _;
            client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client.authorize_url(CsrfToken::new_random).set_pkce_challenge(challenge);
        request = request.add_scopes(self.scopes.iter().cloned().map(Scope::new));
        if let Some(resource) = &self.resource {
            request = request.add_extra_param("resource", resource.clone());
        }
        let (link, state) = request.url();

        if self.no_browser || !open_browser(link.as_str()) {
            eprintln!("Open this link in a browser on this machine:\n{link}");
        } else {
            eprintln!("A browser was opened. If it was not, open this link:\n{link}");
        }
        let code = receive_code(listener, &issuer, state.secret()).await?;
        let http = HttpClient(
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(PATIENCE)
                .build()?,
        );
        let tokens: BasicTokenResponse = client
            .exchange_code(code)
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await
            .map_err(|error| match error {
                oauth2::RequestTokenError::ServerResponse(refused) => {
                    anyhow!("the server refused: {refused}")
                }
                other => anyhow!(other).context("the code could not be exchanged"),
            })?;
        if self.json {
            return output::json(&tokens);
        }
        println!("{}", tokens.access_token().secret());
        Ok(())
    }
}

/// Whether some browser was started.
fn open_browser(link: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    Command::new(opener)
        .arg(link)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}

/// Waits for the browser to come back with the answer, and checks that it is the answer to our question.
async fn receive_code(
    listener: TcpListener,
    issuer: &str,
    state: &str,
) -> anyhow::Result<AuthorizationCode> {
    let (sender, mut receiver) = mpsc::channel::<String>(1);
    let callback = async |State(sender): State<mpsc::Sender<String>>, RawQuery(query): RawQuery| {
        // A second visit finds the channel full or closed, and changes nothing.
        let _ = sender.try_send(query.unwrap_or_default());
        Html(
            "<!doctype html><title>Done</title><p>Done. You can close this window and go back to the terminal.",
        )
    };
    let router = Router::new().route("/callback", get(callback)).with_state(sender);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(async {
                // Either way it is over.
                let _ = stopped.await;
            })
            .into_future(),
    );
    let query = tokio::time::timeout(PATIENCE, receiver.recv()).await;
    let _ = stop.send(());
    // The browser still has to get its page; a connection that it keeps open must not keep us.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    let query =
        query.context("nobody answered within five minutes")?.context("the listener closed")?;
    let answer = Parameters::parse(query.as_bytes())
        .map_err(|bad| anyhow!("the answer: {}", bad.description()))?;
    if answer.first("iss") != issuer || answer.first("state") != state {
        bail!("the answer is not to our question: its issuer or state differs");
    }
    match answer.first("error") {
        "" => Ok(AuthorizationCode::new(answer.first("code").to_owned())),
        error => bail!("the server refused: {error}: {}", answer.first("error_description")),
    }
}

/// The HTTP client of the `oauth2` crate, by our reqwest.
struct HttpClient(reqwest::Client);

#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error(transparent)]
    Transport(#[from] reqwest::Error),
    #[error(transparent)]
    Http(#[from] oauth2::http::Error),
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = oauth2::HttpClientError<HttpError>;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let send = async {
                let (parts, body) = request.into_parts();
                let response = self
                    .0
                    .request(parts.method, parts.uri.to_string())
                    .headers(parts.headers)
                    .body(body)
                    .send()
                    .await?;
                let mut answer = oauth2::http::Response::builder().status(response.status());
                for (name, value) in response.headers() {
                    answer = answer.header(name, value);
                }
                Ok(answer.body(response.bytes().await?.to_vec())?)
            };
            send.await.map_err(|error: HttpError| oauth2::HttpClientError::Reqwest(Box::new(error)))
        })
    }
}
