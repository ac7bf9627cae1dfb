//! `ANY /forward-auth`: whether a call that a reverse proxy holds may go on, and in whose name. For nginx
//! `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth` and Envoy `ext_authz`.
//!
//! The proxy's own request says by its query what is required; the caller's `Authorization` comes along. Every `X-Auth-*`
//! header is in every good answer, empty where there is nothing to say, so that a proxy which copies them overwrites
//! what the caller sent under these names. Whatever fails here lets nobody in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use portcullis_verifier::rejection::{InvalidToken, Unavailability};
use portcullis_verifier::{Principal, Rejection, Scope, ScopeSet};
use secrecy::{ExposeSecret as _, SecretString};

use crate::api_keys::{Asker, Presented, UsedFrom, Verdict, Verified, Wanted};
use crate::app::App;
use crate::audit;
use crate::exchange::Exchange;
use crate::http::{
    ClientAddress, Parameters, Problem, Source, bearer_credential, write_rate_limit,
};
use crate::platform::FieldError;
use crate::rate_limit::Standing;
use crate::resource_servers::ResourceServer;

/// Of the scopes no more is told: proxies and what stands behind them take some kilobytes of headers at most.
const MOST_SCOPES: usize = 4096;
/// How many scopes a call may require.
const MOST_REQUIRED: usize = 100;

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const CLIENT: HeaderName = HeaderName::from_static("x-auth-client");
const API_KEY: HeaderName = HeaderName::from_static("x-auth-api-key");
const ORGANIZATION: HeaderName = HeaderName::from_static("x-auth-organization");
const PROJECT: HeaderName = HeaderName::from_static("x-auth-project");
const SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const CREDENTIAL: HeaderName = HeaderName::from_static("x-auth-credential");

/// What the proxy asks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    /// All of them are required.
    scopes: Vec<Scope>,
    /// The audience of the API that stands behind the proxy.
    resource: Option<String>,
    /// Whether the API is to get a token, whatever the caller brought.
    wants_token: bool,
}

/// Whom the API behind the proxy is told of.
const TOLD: [HeaderName; 6] = [SUBJECT, CLIENT, API_KEY, ORGANIZATION, PROJECT, SCOPES];

/// A call that may go on.
struct Admitted {
    /// The values of [`TOLD`], which are kept with the credential.
    told: Arc<[Bytes]>,
    kind: &'static str,
    standing: Option<Standing>,
    /// What the API gets, where it is to get a token.
    token: Option<SecretString>,
}

/// A call that the proxy holds.
struct Call<'a> {
    credential: &'a str,
    address: ClientAddress,
    source: &'a audit::Source,
    question: &'a Question,
}

/// `ANY /forward-auth`
pub async fn any(
    State(app): State<App>,
    address: ClientAddress,
    Source(source): Source,
    request: Request,
) -> Result<Response, Problem> {
    // 1. What is required, and at which API?
    let question = Question::parse(request.uri().query().unwrap_or_default())?;
    let (resource, api) = resource(&app, question.resource.as_deref()).await?;
    // 2. Who calls? Proxies take nothing but 401 and 403 for a refusal, so that is what garbage gets too.
    let credential = bearer_credential(request.headers()).map_err(|rejection| match rejection {
        Rejection::MalformedRequest(_) => refuse(InvalidToken::Malformed),
        other => Problem::rejected(other),
    })?;
    let call = Call { credential, address, source: &source, question: &question };
    // 3. May they? A JWT has dots; no API key of ours has.
    let admitted = match credential.contains('.') && !app.api_keys.may_be_imported(credential) {
        true => by_access_token(&app, &call, &resource, api.is_some())?,
        false => {
            // An API that does not exist is to strangers like one that is not theirs.
            let api = api.ok_or_else(|| refuse(InvalidToken::NotAccepted))?;
            by_api_key(&app, &call, &api).await?
        }
    };
    // 4. In whose name.
    admitted.answer()
}

/// The API that is meant, by its audience: the one that is named, else the only one that everybody may use. The
/// management API is never meant; it is its own gate.
async fn resource(
    app: &App,
    named: Option<&str>,
) -> Result<(String, Option<Arc<ResourceServer>>), Problem> {
    match named {
        Some(resource) => {
            let found = app.resource_servers.find_by_audience(&app.db, resource).await;
            let found = found.map_err(undecided)?.filter(|api| !api.is_management);
            Ok((resource.to_owned(), found))
        }
        None => {
            let only = app.resource_servers.find_only_shared(&app.db).await.map_err(undecided)?;
            let only = only.ok_or_else(|| {
                wrong("resource", "must name the audience of the API, for there is not just one")
            })?;
            Ok((only.audience.clone(), Some(only)))
        }
    }
}

fn by_access_token(
    app: &App,
    call: &Call<'_>,
    resource: &str,
    is_known: bool,
) -> Result<Admitted, Problem> {
    let (keys, now) = (app.signer.public_keys(), app.clock.now());
    let (issuer, revocations) = (&app.config.issuer, &app.revocations);
    let accepted = app
        .accepted_tokens
        .inspect(&keys, issuer, revocations, now, call.credential)
        .filter(|accepted| accepted.claims.may_be_used_from(call.address.0))
        .ok_or_else(|| refuse(InvalidToken::NotAccepted))?;
    if !accepted.claims.aud.contains(resource) {
        return Err(refuse(InvalidToken::WrongAudience));
    }
    if !is_known {
        return Err(refuse(InvalidToken::NotAccepted));
    }
    let principal = accepted.principal();
    for scope in &call.question.scopes {
        principal.require_scope(scope).map_err(Problem::rejected)?;
    }
    let told = accepted.as_told.get_or_init(|| told(principal)).clone();
    let token = call.question.wants_token.then(|| call.credential.into());
    Ok(Admitted { told, kind: "access_token", standing: None, token })
}

async fn by_api_key(app: &App, call: &Call<'_>, api: &ResourceServer) -> Result<Admitted, Problem> {
    // Before the key is asked for: what the log brings from here on makes a token that is kept stale.
    let asked_at = app.revocations.mark();
    let required = &call.question.scopes;
    let verified = verify(app, call, api, required.first(), Some(1)).await?;
    if let Some(standing) = verified.standing.filter(Standing::is_refused) {
        return Err(Problem::rate_limited(&standing));
    }
    let standing = verified.standing;
    let (known, scopes) = match (verified.known, verified.verdict) {
        (Some(known), Verdict::Valid(scopes)) => (known, scopes),
        (_, Verdict::MissingScope(scopes)) if !scopes.is_empty() => {
            return Err(match required.first() {
                Some(required) => missing(required),
                None => refuse(InvalidToken::NotAccepted),
            });
        }
        _ => return Err(refuse(InvalidToken::NotAccepted)),
    };
    if let Some(scope) = required.iter().find(|scope| !scopes.covers(scope)) {
        // So that the owner finds this refusal too; it was counted before.
        verify(app, call, api, Some(scope), None).await?;
        return Err(missing(scope));
    }
    let token = match call.question.wants_token {
        true => {
            let exchange = Exchange {
                db: &app.db,
                signer: &app.signer,
                revocations: &app.revocations,
                status_lists: &app.status_lists,
                settings: &app.config.tokens,
                issuer: &app.config.issuer,
                now: app.clock.now(),
                asked_at,
            };
            // Boxed, so that calls which want none don't carry it along.
            let token = Box::pin(app.phantom_tokens.token(&exchange, &known, api, &scopes));
            Some(token.await.map_err(undecided)?)
        }
        false => None,
    };
    let render = || Ok::<_, Problem>(told(&known.principal(scopes.clone())));
    let told = known.as_told.with(&scopes, render)?;
    Ok(Admitted { told, kind: "api_key", standing, token })
}

async fn verify(
    app: &App,
    call: &Call<'_>,
    api: &ResourceServer,
    scope: Option<&Scope>,
    cost: Option<u32>,
) -> Result<Verified, Problem> {
    let from = UsedFrom::Address(call.address.0);
    let wanted = Wanted { asker: Asker::ResourceServer(api), from, scope };
    let presented = Presented { text: call.credential, wanted, cost, source: call.source };
    let (now, limits) = (app.clock.now(), &app.key_limits);
    let verified = app.api_keys.verify(&app.db, &app.revocations, limits, now, &presented).await;
    verified.map_err(undecided)
}

impl Admitted {
    fn answer(self) -> Result<Response, Problem> {
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        // All that are told here, and those that every answer gets: a map that grows is made anew.
        headers.reserve(20);
        for (name, value) in TOLD.into_iter().zip(&*self.told) {
            headers.insert(name, HeaderValue::from_maybe_shared(value.clone())?);
        }
        headers.insert(CREDENTIAL, HeaderValue::from_static(self.kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(standing) = &self.standing {
            write_rate_limit(headers, standing);
        }
        Ok(response)
    }
}

/// The values of [`TOLD`] for this caller, empty where there is nothing to say.
fn told(principal: &Principal) -> Arc<[Bytes]> {
    // The client of a token that was exchanged for a key is the key.
    let client = principal.client().filter(|_| principal.api_key().is_none());
    let values = [
        principal.subject(),
        client.unwrap_or_default(),
        principal.api_key().unwrap_or_default(),
        principal.organization().unwrap_or_default(),
        principal.project().unwrap_or_default(),
        &fitting(principal.scopes()),
    ];
    values.into_iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect()
}

/// As many scopes as fit, each whole: whoever is told of fewer allows less.
fn fitting(scopes: &ScopeSet) -> String {
    let mut text = String::new();
    for scope in scopes.iter() {
        let needed = scope.as_str().len() + usize::from(!text.is_empty());
        if text.len() + needed > MOST_SCOPES {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(scope.as_str());
    }
    text
}

impl Question {
    /// Reads the query as strictly as can be: a word that is misspelt, or left empty by a template, must not come to
    /// mean that nothing is required.
    ///
    /// What follows `original=` is the caller's own address, which Envoy appends: nothing there is for us.
    fn parse(query: &str) -> Result<Self, Problem> {
        let is_all_theirs = query.starts_with("original=");
        let ours = query.split("&original=").next().filter(|_| !is_all_theirs);
        let parameters = Parameters::parse(ours.unwrap_or_default().as_bytes())?;
        let mut question = Self::default();
        for (name, value) in parameters.pairs() {
            match name {
                "scope" => {
                    for word in value.split(' ') {
                        let scope = word.parse().map_err(|_| {
                            wrong("scope", "is not a scope; one looks like read:tenants")
                        })?;
                        question.scopes.push(scope);
                    }
                }
                "resource" if question.resource.is_some() => {
                    return Err(wrong("resource", "must be sent once only"));
                }
                "resource" if !value.is_empty() => question.resource = Some(value.to_owned()),
                "resource" => return Err(wrong("resource", "must not be empty")),
                "upstream_token" if value == "jwt" => question.wants_token = true,
                "upstream_token" => return Err(wrong("upstream_token", "must be jwt")),
                other => return Err(wrong(other, "is no parameter here")),
            }
        }
        if question.scopes.len() > MOST_REQUIRED {
            return Err(wrong("scope", "must be sent 100 times at most"));
        }
        Ok(question)
    }
}

fn wrong(parameter: &str, message: &str) -> Problem {
    Problem::invalid(vec![FieldError::new(parameter, message)])
}

fn refuse(reason: InvalidToken) -> Problem {
    Problem::rejected(Rejection::InvalidToken(reason))
}

fn missing(required: &Scope) -> Problem {
    Problem::rejected(Rejection::InsufficientScope { required: required.clone() })
}

/// A failure of ours: it is said that nothing can be said.
fn undecided(cause: impl Into<anyhow::Error>) -> Problem {
    tracing::error!(error = format!("{:#}", cause.into()), "a call can't be decided over");
    Problem::rejected(Rejection::Unavailable(Unavailability::AuthorizationServer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_question_is_read_or_refused() {
        let read = |query: &str| Question::parse(query).ok();
        let nothing = Question::default();
        assert_eq!(read(""), Some(Question::default()));
        assert_eq!(read("original=/tenants?scope=x"), Some(nothing));
        let question = read(
            "scope=read:tenants&scope=write:users+read:a/b&upstream_token=jwt&resource=https%3A%2F%2Fa",
        );
        let expected = Question {
            scopes: scopes(&["read:tenants", "write:users", "read:a/b"]),
            resource: Some("https://a".to_owned()),
            wants_token: true,
        };
        assert_eq!(question, Some(expected));
        let behind = read("scope=read:a&original=/x?scope=No+Scope&resource=&original=&colour=red");
        assert_eq!(behind.unwrap().scopes, scopes(&["read:a"]));
        for query in [
            "scope=",
            "scope=read:a+",
            "scope=No+Scope",
            "scopes=read:a",
            "Scope=read:a",
            "resource=",
            "resource=a&resource=a",
            "upstream_token=",
            "upstream_token=opaque",
            "scope=%FF",
            "x",
        ] {
            assert_eq!(read(query), None, "{query}");
        }
        assert!(read(&format!("scope={}", "read:a+".repeat(100) + "read:a")).is_none());
    }

    #[test]
    fn scopes_are_told_whole_and_within_bounds() {
        let few: ScopeSet = "read:a read:b".parse().unwrap();
        assert_eq!(fitting(&few), "read:a read:b");
        let name = "a".repeat(92);
        let many: Vec<String> = (10..99).map(|at| format!("read:{name}-{at}")).collect();
        let many: ScopeSet = many.join(" ").parse().unwrap();
        let text = fitting(&many);
        assert!(text.len() <= MOST_SCOPES && text.len() > MOST_SCOPES - 101, "{}", text.len());
        let told: ScopeSet = text.parse().unwrap();
        assert!(many.covers_all(&told) && told.iter().all(|scope| scope.as_str().len() == 100));
    }
}
