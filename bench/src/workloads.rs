//! What is asked of the server: one request each, by its number.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::installation::{Installation, PASSWORD, REDIRECT_URI, SCOPE};
use crate::load::Requests;

/// Keys, clients or tokens that a warm workload uses again and again.
const WARM: usize = 1000;

pub struct Workload {
    pub name: &'static str,
    pub requests: Requests,
    /// How many different requests there are, where none may be sent twice.
    pub once: Option<usize>,
    pub floor: Floor,
}

/// What it is compared with, beside the bare route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    Bare,
    /// The bare route and one signature of this algorithm.
    Signature(jsonwebtoken::Algorithm),
    Commits,
    PointReads,
    PasswordChecks,
}

/// All of them, on this installation.
///
/// # Errors
/// When tokens can't be signed.
pub async fn all(installation: &Installation) -> Result<Vec<Workload>> {
    use jsonwebtoken::Algorithm::{ES256, EdDSA, RS256};
    let mut all = Vec::new();
    let mut add = |name, once, floor, requests| {
        all.push(Workload { name, requests, once, floor });
    };
    let own = |at: usize| client_credentials(installation, at..=at);
    add("client_credentials ES256", None, Floor::Signature(ES256), own(0));
    add("client_credentials EdDSA", None, Floor::Signature(EdDSA), own(1));
    add("client_credentials RS256", None, Floor::Signature(RS256), own(2));
    let clients = installation.clients.len();
    let each = client_credentials(installation, 3..=clients - 1);
    add("client_credentials, each client once", Some(clients - 3), Floor::PointReads, each);
    add("code exchange", Some(installation.codes.len()), Floor::Commits, codes(installation));
    add("refresh", Some(installation.grants.len()), Floor::Commits, refreshes(installation));

    let tokens = Arc::new(installation.tokens(WARM).await?);
    let credential = &installation.apis[0].credential;
    let introspect = |texts: &Arc<Vec<String>>, of: usize| {
        let (texts, bearer) = (texts.clone(), format!("authorization: Bearer {credential}\r\n"));
        posts("/oauth/introspect", FORM, bearer, move |number| {
            format!("token={}", texts[number % of])
        })
    };
    let keys = &installation.keys;
    add("introspection, token", None, Floor::Bare, introspect(&tokens, tokens.len()));
    add("introspection, key", None, Floor::Bare, introspect(keys, WARM.min(keys.len())));
    let verify = |of: usize| {
        let (keys, bearer) = (keys.clone(), format!("authorization: Bearer {credential}\r\n"));
        posts("/v1/api-keys/verify", JSON, bearer, move |number| {
            format!(r#"{{"key":"{}","scope":"{SCOPE}"}}"#, keys[number % of])
        })
    };
    add("key verify", None, Floor::Bare, verify(WARM.min(keys.len())));
    add("key verify, each key once", Some(keys.len()), Floor::PointReads, verify(keys.len()));
    let gate = |texts: &Arc<Vec<String>>| {
        let (texts, of) = (texts.clone(), WARM.min(texts.len()));
        let audience = escaped(&installation.apis[0].server.audience);
        let path = format!("/forward-auth?scope={}&resource={audience}", escaped(SCOPE));
        gets(move |number| {
            (path.clone(), format!("authorization: Bearer {}\r\n", texts[number % of]))
        })
    };
    add("forward-auth, key", None, Floor::Bare, gate(keys));
    add("forward-auth, token", None, Floor::Bare, gate(&tokens));
    let page = |path: &'static str| gets(move |_| (path.to_owned(), String::new()));
    add("JWKS", None, Floor::Bare, page("/oauth/jwks"));
    let metadata = "/.well-known/oauth-authorization-server";
    add("metadata", None, Floor::Bare, page(metadata));
    let dead = Arc::new(installation.tokens(installation.grants.len()).await?);
    let once = Some(dead.len());
    add("revocation", once, Floor::Commits, revocations(installation, dead));
    add("login", None, Floor::PasswordChecks, logins(installation));
    let admin = format!("authorization: Bearer {}\r\n", installation.admin);
    let list = gets(move |_| ("/v1/api-keys?limit=50".to_owned(), admin.clone()));
    add("list of 50 keys", None, Floor::Bare, list);
    Ok(all)
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn posts(
    path: &'static str,
    kind: &'static str,
    headers: String,
    body: impl Fn(usize) -> String + Send + Sync + 'static,
) -> Requests {
    Arc::new(move |number| post(path, kind, &headers, &body(number)))
}

fn post(path: &str, kind: &str, headers: &str, body: &str) -> Arc<[u8]> {
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}");
    // Writing to a string can't fail.
    let _ = write!(text, "content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    text.into_bytes().into()
}

fn gets(of: impl Fn(usize) -> (String, String) + Send + Sync + 'static) -> Requests {
    Arc::new(move |number| {
        let (path, headers) = of(number);
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").into_bytes().into()
    })
}

fn client_credentials(
    installation: &Installation,
    clients: std::ops::RangeInclusive<usize>,
) -> Requests {
    let all = installation.clients.clone();
    posts("/oauth/token", FORM, String::new(), move |number| {
        let (id, secret) = &all[clients.start() + number % (clients.end() + 1 - clients.start())];
        format!(
            "grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={}",
            escaped(SCOPE)
        )
    })
}

fn codes(installation: &Installation) -> Requests {
    let (clients, codes) = (installation.clients.clone(), installation.codes.clone());
    posts("/oauth/token", FORM, String::new(), move |number| {
        let (code, at) = &codes[number];
        let (id, secret) = &clients[*at];
        let redirect_uri = escaped(REDIRECT_URI);
        format!(
            "grant_type=authorization_code&code={code}&redirect_uri={redirect_uri}&client_id={id}&client_secret={secret}"
        )
    })
}

/// Each grant is refreshed once, as most are in one access token's life.
fn refreshes(installation: &Installation) -> Requests {
    let clients = installation.clients.clone();
    let tokens: Vec<(String, usize)> = installation
        .grants
        .iter()
        .map(|(grant, at)| (installation.refresh_token(*grant, 1), *at))
        .collect();
    posts("/oauth/token", FORM, String::new(), move |number| {
        let (token, at) = &tokens[number];
        let (id, secret) = &clients[*at];
        format!(
            "grant_type=refresh_token&refresh_token={token}&client_id={id}&client_secret={secret}"
        )
    })
}

fn revocations(installation: &Installation, tokens: Arc<Vec<String>>) -> Requests {
    let (clients, grants) = (installation.clients.clone(), installation.grants.clone());
    posts("/oauth/revoke", FORM, String::new(), move |number| {
        let (id, secret) = &clients[grants[number].1];
        format!("token={}&client_id={id}&client_secret={secret}", tokens[number])
    })
}

/// From addresses and of people that are all different, so that no limit is measured.
fn logins(installation: &Installation) -> Requests {
    let emails = installation.emails.clone();
    Arc::new(move |number| {
        let email = escaped(&emails[number % emails.len()]);
        let body = format!("email={email}&password={}&next=", escaped(PASSWORD));
        let bytes = u32::try_from(number).unwrap_or_default().to_be_bytes();
        let from = std::net::Ipv4Addr::new(10, bytes[1], bytes[2], bytes[3]);
        let headers = format!("x-forwarded-for: {from}\r\nsec-fetch-site: same-origin\r\n");
        post("/login", FORM, &headers, &body)
    })
}
