//! The checks of an authorization request, in the order in which they must come.

use std::sync::Arc;

use portcullis_verifier::ScopeSet;

use super::super::token::pkce;
use super::super::{ErrorCode, OAuthError};
use super::response::KnownClient;
use crate::app::App;
use crate::clients::{GrantType, Status, matches_redirect_uri, requested};
use crate::http::{PageError, Parameters};
use crate::resource_servers::ResourceServer;
use crate::revocation::Subject;
use crate::tenancy::Membership;

const MAX_STATE: usize = 4096;

/// How much the person may be bothered (OpenID Connect Core §3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompt {
    AsNeeded,
    None,
    /// Log in again, and then as `Consent` if that was asked for too.
    Login,
    Consent,
}

/// A request that can be granted, if the person agrees.
pub(super) struct AuthorizationRequest<'a> {
    pub client: &'a KnownClient,
    pub resource_server: Arc<ResourceServer>,
    pub scopes: ScopeSet,
    pub code_challenge: Option<String>,
    pub prompt: Prompt,
}

impl AuthorizationRequest<'_> {
    /// What of it somebody may allow by their role.
    pub fn allowed_by(&self, membership: &Membership) -> ScopeSet {
        self.resource_server.catalog.within(&self.scopes, &membership.scopes)
    }

    /// Whether it comes from an application of the company's own, about which people are not asked. A public client
    /// proves nothing of itself; what an https redirect URI leads to is at least its own site (RFC 8252 §8.6).
    pub fn needs_no_consent(&self) -> bool {
        let client = &self.client.client;
        let is_known = client.is_confidential || self.client.redirect_uri.starts_with("https://");
        client.is_first_party && is_known && self.prompt != Prompt::Consent
    }
}

/// The client and a redirect URI of its own (RFC 6749 §4.1.2.1): what is wrong here is told on a page, never by
/// a redirect.
pub(super) async fn client_and_redirect_uri(
    app: &App,
    parameters: &Parameters,
) -> Result<KnownClient, PageError> {
    let unknown = || {
        PageError::bad_request(
            "The application is not known here: its client_id is missing or wrong. Go back to it and try again; if \
             that does not help, tell whoever runs it.",
        )
    };
    let id = parameters.get("client_id")?.and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
    let client = app.clients.find(id).await?.ok_or_else(unknown)?;
    match client.status() {
        Status::Active if !app.revocations.contains(Subject::Client(id)) => {}
        Status::Disabled => {
            return Err(PageError::bad_request(
                "The application is switched off at the moment. Whoever runs it can tell you more.",
            ));
        }
        Status::Active | Status::Deleted => return Err(unknown()),
    }
    let redirect_uri = match (parameters.get("redirect_uri")?, client.redirect_uris.as_slice()) {
        (Some(requested), registered) => registered
            .iter()
            .any(|it| matches_redirect_uri(it, requested))
            .then(|| requested.to_owned()),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    };
    let redirect_uri = redirect_uri.ok_or_else(|| {
        PageError::bad_request(
            "The application asked for an answer at an address that is not registered for it. Its redirect_uri must \
             be one of those, to the letter. Whoever runs the application can mend this.",
        )
    })?;
    // A doubled state can't be sent back; the refusal of it goes without one.
    let state = parameters
        .get("state")
        .ok()
        .flatten()
        .filter(|state| state.len() <= MAX_STATE)
        .map(str::to_owned);
    Ok(KnownClient { client, redirect_uri, state })
}

/// Everything else; what is wrong here is told to the application.
pub(super) async fn request<'a>(
    app: &App,
    client: &'a KnownClient,
    parameters: &Parameters,
) -> Result<AuthorizationRequest<'a>, OAuthError> {
    if parameters.get("state")?.is_some_and(|state| state.len() > MAX_STATE) {
        return Err(OAuthError::new(ErrorCode::InvalidRequest, "state is longer than 4096 bytes"));
    }
    if parameters.get("request")?.is_some() {
        return Err(OAuthError::new(
            ErrorCode::RequestNotSupported,
            "request objects are not supported",
        ));
    }
    if parameters.get("request_uri")?.is_some() {
        return Err(OAuthError::new(
            ErrorCode::RequestUriNotSupported,
            "request_uri is not supported",
        ));
    }
    response_type(client, parameters)?;
    let code_challenge = code_challenge(client, parameters)?;
    let prompt = prompt(parameters)?;
    let (resource, scope) = (parameters.get("resource")?, parameters.get("scope")?);
    let requested =
        requested(&client.client, &app.resource_servers, &app.db, resource, scope).await?;
    Ok(AuthorizationRequest {
        client,
        resource_server: requested.resource_server,
        scopes: requested.scopes,
        code_challenge,
        prompt,
    })
}

fn response_type(client: &KnownClient, parameters: &Parameters) -> Result<(), OAuthError> {
    match parameters.get("response_type")? {
        Some("code") => {}
        Some(_) => {
            return Err(OAuthError::new(
                ErrorCode::UnsupportedResponseType,
                "response_type must be code",
            ));
        }
        None => return Err(OAuthError::missing("response_type")),
    }
    if parameters.get("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err(OAuthError::new(ErrorCode::InvalidRequest, "response_mode must be query"));
    }
    if !client.client.may_use(GrantType::AuthorizationCode) {
        let description = "this client is not registered for authorization_code";
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, description));
    }
    Ok(())
}

fn code_challenge(
    client: &KnownClient,
    parameters: &Parameters,
) -> Result<Option<String>, OAuthError> {
    let invalid =
        |description: &'static str| OAuthError::new(ErrorCode::InvalidRequest, description);
    match (parameters.get("code_challenge")?, parameters.get("code_challenge_method")?) {
        (None, None) if client.client.requires_pkce => {
            Err(invalid("code_challenge is missing; PKCE is required"))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("code_challenge is missing")),
        (Some(challenge), Some("S256")) if pkce::is_challenge(challenge) => {
            Ok(Some(challenge.to_owned()))
        }
        (Some(_), Some("S256")) => Err(invalid("code_challenge is not 43 characters of base64url")),
        // Left out it would mean `plain` (RFC 7636 §4.3), which protects nobody.
        (Some(_), _) => Err(invalid("code_challenge_method must be S256")),
    }
}

fn prompt(parameters: &Parameters) -> Result<Prompt, OAuthError> {
    let words: Vec<&str> = parameters
        .get("prompt")?
        .unwrap_or_default()
        .split(' ')
        .filter(|it| !it.is_empty())
        .collect();
    if words.iter().any(|word| !matches!(*word, "none" | "login" | "consent")) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "prompt must be none, login or consent",
        ));
    }
    let has = |word| words.contains(&word);
    match (has("none"), has("login"), has("consent")) {
        (true, false, false) => Ok(Prompt::None),
        (true, _, _) => {
            Err(OAuthError::new(ErrorCode::InvalidRequest, "prompt=none goes with no other prompt"))
        }
        (_, true, _) => Ok(Prompt::Login),
        (_, _, true) => Ok(Prompt::Consent),
        _ => Ok(Prompt::AsNeeded),
    }
}
