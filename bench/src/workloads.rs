//! What is asked of the server: one request each, by its number.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis::signing::Algorithm;

use crate::installation::{Installation, PASSWORD, REDIRECT_URI, SCOPE, WARM};
use crate::load::Requests;

/// More logins at once are turned away, as they should be.
const MOST_LOGINS: usize = 32;

pub struct Workload {
    pub name: &'static str,
    pub requests: Requests,
    /// How many different requests there are, where none may be sent twice.
    pub once: Option<usize>,
    pub floor: Floor,
    /// What is in a good answer.
    pub shows: &'static str,
    pub most_connections: usize,
}

impl Workload {
    fn new(name: &'static str, floor: Floor, shows: &'static str, requests: Requests) -> Self {
        Self { name, requests, once: None, floor, shows, most_connections: usize::MAX }
    }

    fn once(self, count: usize) -> Self {
        Self { once: Some(count), ..self }
    }
}

/// What it is compared with, beside the bare route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    Bare,
    /// The bare route and one signature of this algorithm.
    Signature(Algorithm),
    Commits,
    PointReads,
    PasswordChecks,
}

impl Floor {
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Bare => None,
            Self::Signature(_) => Some("the bare route and a signature"),
            Self::Commits => Some("commits"),
            Self::PointReads => Some("point reads"),
            Self::PasswordChecks => Some("password checks"),
        }
    }
}

pub const CLIENT_CREDENTIALS: &str = "client_credentials ES256";
pub const CODE_EXCHANGE: &str = "code exchange";
pub const REFRESH: &str = "refresh";
pub const LOGIN: &str = "login";
pub const KEY_VERIFY: &str = "key verify";
pub const EACH_KEY_ONCE: &str = "key verify, each key once";
/// What checks credentials that are in memory.
pub const CHECKS: [&str; 5] = [
    "introspection, token",
    "introspection, key",
    KEY_VERIFY,
    "forward-auth, key",
    "forward-auth, token",
];

/// All of them, on this installation.
///
/// # Errors
/// When tokens can't be signed.
pub async fn all(installation: &Installation) -> Result<Vec<Workload>> {
    let tokens = installation.tokens(WARM.min(installation.grants.len())).await?;
    let dead = installation.tokens(installation.grants.len()).await?;
    let mut all = token_endpoint(installation);
    all.extend(checks(installation, &tokens));
    let page = |path: &'static str| ready(1, move |_, out| get(out, path, ""));
    all.push(Workload::new("JWKS", Floor::Bare, r#""keys""#, page("/oauth/jwks")));
    let metadata = page("/.well-known/oauth-authorization-server");
    all.push(Workload::new("metadata", Floor::Bare, r#""issuer""#, metadata));
    let revocation =
        Workload::new("revocation", Floor::Commits, "", revocations(installation, &dead));
    all.push(revocation.once(dead.len()));
    let login = Workload::new(LOGIN, Floor::PasswordChecks, "set-cookie", logins(installation));
    all.push(Workload { most_connections: MOST_LOGINS, ..login });
    let admin = format!("authorization: Bearer {}\r\n", installation.admin);
    let list = ready(1, move |_, out| get(out, "/v1/api-keys?limit=50", &admin));
    all.push(Workload::new("list of 50 keys", Floor::Bare, r#""items""#, list));
    Ok(all)
}

fn token_endpoint(installation: &Installation) -> Vec<Workload> {
    let token = r#""access_token""#;
    let own = |at: usize| {
        let (id, secret) = installation.clients[at].clone();
        ready(1, move |_, out| client_credentials(out, &id, &secret))
    };
    let new =
        |name, algorithm, at| Workload::new(name, Floor::Signature(algorithm), token, own(at));
    let clients = installation.clients.clone();
    let each = clients.len() - 3;
    let each_client = Requests::each(move |number, out| {
        let (id, secret) = &clients[3 + number];
        client_credentials(out, id, secret);
    });
    let new_once =
        |name, floor, requests, count| Workload::new(name, floor, token, requests).once(count);
    vec![
        new(CLIENT_CREDENTIALS, Algorithm::Es256, 0),
        new("client_credentials EdDSA", Algorithm::EdDsa, 1),
        new("client_credentials RS256", Algorithm::Rs256, 2),
        new_once("client_credentials, each client once", Floor::PointReads, each_client, each),
        new_once(CODE_EXCHANGE, Floor::Commits, codes(installation), installation.codes.len()),
        new_once(REFRESH, Floor::Commits, refreshes(installation), installation.grants.len()),
    ]
}

/// Of tokens and keys, by those who accept them.
fn checks(installation: &Installation, tokens: &[String]) -> Vec<Workload> {
    let keys = &installation.keys;
    let warm = &keys[..WARM.min(keys.len())];
    let bearer = format!("authorization: Bearer {}\r\n", installation.apis[0].credential);
    let introspect = |texts: &[String]| {
        ready(texts.len(), |number, out| {
            post(out, "/oauth/introspect", FORM, &bearer, &["token=", &texts[number]]);
        })
    };
    let verify = |out: &mut Vec<u8>, bearer: &str, key: &str| {
        let rest = r#"","scope":"read:tenants"}"#;
        post(out, "/v1/api-keys/verify", JSON, bearer, &[r#"{"key":""#, key, rest]);
    };
    let verify_warm = ready(warm.len(), |number, out| verify(out, &bearer, &warm[number]));
    let verify_each = {
        let (keys, bearer) = (keys.clone(), bearer.clone());
        Requests::each(move |number, out| verify(out, &bearer, &keys[number]))
    };
    let audience = escaped(&installation.apis[0].server.audience);
    let path = format!("/forward-auth?scope={}&resource={audience}", escaped(SCOPE));
    let gate = |texts: &[String]| {
        ready(texts.len(), |number, out| {
            get(out, &path, &format!("authorization: Bearer {}\r\n", texts[number]));
        })
    };
    let [token, key, verified, gate_key, gate_token] = CHECKS;
    let new = |name, shows, requests| Workload::new(name, Floor::Bare, shows, requests);
    let valid = r#""valid":true"#;
    vec![
        new(token, r#""active":true"#, introspect(tokens)),
        new(key, r#""active":true"#, introspect(warm)),
        new(verified, valid, verify_warm),
        Workload::new(EACH_KEY_ONCE, Floor::PointReads, valid, verify_each).once(keys.len()),
        new(gate_key, "", gate(warm)),
        new(gate_token, "", gate(tokens)),
    ]
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn ready(count: usize, write: impl Fn(usize, &mut Vec<u8>)) -> Requests {
    Requests::ready(count, write)
}

fn post(out: &mut Vec<u8>, path: &str, kind: &str, headers: &str, body: &[&str]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    // Writing to memory can't fail.
    let _ = write!(
        out,
        "POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    body.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn get(out: &mut Vec<u8>, path: &str, headers: &str) {
    let _ = write!(out, "GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
}

fn client_credentials(out: &mut Vec<u8>, id: &str, secret: &str) {
    let begin = "grant_type=client_credentials&scope=read%3Atenants&client_id=";
    post(out, "/oauth/token", FORM, "", &[begin, id, "&client_secret=", secret]);
}

fn codes(installation: &Installation) -> Requests {
    let (clients, codes) = (installation.clients.clone(), installation.codes.clone());
    let redirect_uri = escaped(REDIRECT_URI);
    Requests::each(move |number, out| {
        let (code, at) = &codes[number];
        let (id, secret) = &clients[*at];
        let body = ["grant_type=authorization_code&code=", code, "&redirect_uri=", &redirect_uri];
        let client = ["&client_id=", id, "&client_secret=", secret];
        post(out, "/oauth/token", FORM, "", &[body, client].concat());
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
    Requests::each(move |number, out| {
        let (token, at) = &tokens[number];
        let (id, secret) = &clients[*at];
        let body = ["grant_type=refresh_token&refresh_token=", token];
        let client = ["&client_id=", id, "&client_secret=", secret];
        post(out, "/oauth/token", FORM, "", &[&body[..], &client].concat());
    })
}

fn revocations(installation: &Installation, tokens: &[String]) -> Requests {
    let (clients, grants) = (installation.clients.clone(), installation.grants.clone());
    let tokens: Arc<[String]> = tokens.into();
    Requests::each(move |number, out| {
        let (id, secret) = &clients[grants[number].1];
        let body = ["token=", &tokens[number], "&client_id=", id, "&client_secret=", secret];
        post(out, "/oauth/revoke", FORM, "", &body);
    })
}

/// From addresses and of people that are all different, so that no limit is measured.
fn logins(installation: &Installation) -> Requests {
    let emails = installation.emails.clone();
    let password = escaped(PASSWORD);
    Requests::each(move |number, out| {
        let email = escaped(&emails[number % emails.len()]);
        let bytes = u32::try_from(number).unwrap_or_default().to_be_bytes();
        let from = std::net::Ipv4Addr::new(10, bytes[1], bytes[2], bytes[3]);
        let headers = format!("x-forwarded-for: {from}\r\nsec-fetch-site: same-origin\r\n");
        let body = ["email=", &email, "&password=", &password, "&next="];
        post(out, "/login", FORM, &headers, &body);
    })
}
