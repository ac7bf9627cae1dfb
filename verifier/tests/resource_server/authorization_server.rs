//! An authorization server on a random port, with what it has been asked counted.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_verifier::key;
use portcullis_verifier::revocation::{Entry, EntryKind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::AUDIENCE;

pub const CREDENTIAL: &str = "pc_cs_resource-server";

pub struct AuthorizationServer {
    issuer: String,
    signing: Mutex<(String, EncodingKey)>,
    desk: Arc<Desk>,
    _tasks: JoinSet<()>,
}

/// What the endpoints look at, and what they note.
struct Desk {
    metadata: Mutex<Value>,
    jwks: Mutex<Vec<Value>>,
    jwks_available: AtomicBool,
    jwks_cache_control: Mutex<Option<String>>,
    jwks_asked: AtomicUsize,
    api_keys: Mutex<HashMap<String, Value>>,
    introspections: AtomicUsize,
    /// While true, introspections wait.
    introspection_held: watch::Sender<bool>,
    introspection_available: AtomicBool,
    log: Mutex<Log>,
    beating: AtomicBool,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    trimmed_to: i64,
    listeners: Vec<mpsc::UnboundedSender<String>>,
    last_event_ids: Vec<Option<i64>>,
    /// After how many entries the next snapshots break off, in turn.
    cuts: VecDeque<usize>,
    status: Option<StatusCode>,
}

impl AuthorizationServer {
    pub async fn start() -> AuthorizationServer {
        AuthorizationServer::start_at("").await
    }

    /// With an issuer that has this path.
    pub async fn start_at(path: &str) -> AuthorizationServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("{base}{path}");
        let desk = Arc::new(Desk {
            metadata: Mutex::new(json!({
                "issuer": issuer,
                "jwks_uri": format!("{base}/jwks"),
                "introspection_endpoint": format!("{base}/introspect"),
                "portcullis_revocations_endpoint": format!("{base}/revocations"),
            })),
            jwks: Mutex::default(),
            jwks_available: AtomicBool::new(true),
            jwks_cache_control: Mutex::default(),
            jwks_asked: AtomicUsize::new(0),
            api_keys: Mutex::default(),
            introspections: AtomicUsize::new(0),
            introspection_held: watch::Sender::new(false),
            introspection_available: AtomicBool::new(true),
            log: Mutex::default(),
            beating: AtomicBool::new(true),
        });
        let router = Router::new()
            .route(&format!("/.well-known/oauth-authorization-server{path}"), get(metadata))
            .route("/jwks", get(jwks))
            .route("/introspect", post(introspect))
            .route("/revocations", get(revocations))
            .with_state(desk.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        tasks.spawn(beat(desk.clone()));
        let (kid, key, jwk) = new_signing_key();
        desk.jwks.lock().unwrap().push(jwk);
        AuthorizationServer { issuer, signing: Mutex::new((kid, key)), desk, _tasks: tasks }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn changes_metadata(&self, member: &str, value: Value) {
        self.desk.metadata.lock().unwrap()[member] = value;
    }

    // Tokens

    pub fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.issuer, "sub": "usr_1", "aud": AUDIENCE, "exp": now + 600, "iat": now, "jti": "tok_1",
            "client_id": "app_1", "scope": "read:tenants", "org": "org_1", "project": "prj_1",
            "grant": "gnt_1",
        })
    }

    pub fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": self.signing.lock().unwrap().0})
    }

    pub fn signs(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let key = &self.signing.lock().unwrap().1;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::ES256);
        format!("{message}.{}", signature.unwrap())
    }

    pub fn issues(&self, claims: &Value) -> String {
        self.signs(&self.header(), claims)
    }

    pub fn rotates_its_signing_key(&self) {
        let (kid, key, jwk) = new_signing_key();
        self.desk.jwks.lock().unwrap().push(jwk);
        *self.signing.lock().unwrap() = (kid, key);
    }

    pub fn jwks(&self) -> Vec<Value> {
        self.desk.jwks.lock().unwrap().clone()
    }

    pub fn jwks_asked(&self) -> usize {
        self.desk.jwks_asked.load(Ordering::SeqCst)
    }

    pub fn serves_its_keys(&self, available: bool) {
        self.desk.jwks_available.store(available, Ordering::SeqCst);
    }

    /// No longer publishes the first of its keys.
    pub fn retires_its_oldest_key(&self) {
        self.desk.jwks.lock().unwrap().remove(0);
    }

    pub fn lets_its_keys_be_kept(&self, cache_control: &str) {
        *self.desk.jwks_cache_control.lock().unwrap() = Some(cache_control.to_owned());
    }

    // API keys

    /// A new key of `org_1` by `usr_1`, with these members of the introspection answer changed.
    pub fn makes_key(&self, id: &str, changes: Value) -> String {
        let key = key::generate(&"pc_live".parse().unwrap()).unwrap().expose_secret().to_owned();
        self.describes_key(&key, id, changes);
        key
    }

    pub fn describes_key(&self, key: &str, id: &str, changes: Value) {
        let mut answer = json!({
            "active": true, "token_type": "api_key", "api_key": id, "sub": id, "org": "org_1",
            "scope": "read:tenants", "iat": now(), "creator": "usr_1",
        });
        for (member, value) in changes.as_object().into_iter().flatten() {
            answer[member] = value.clone();
        }
        self.desk.api_keys.lock().unwrap().insert(key.to_owned(), answer);
    }

    /// From now on introspection accepts this token of [`claims`](Self::claims), or no longer.
    pub fn answers_for_token(&self, token: &str, active: bool) {
        let answer = json!({"active": active, "token_type": "Bearer", "jti": "tok_1"});
        self.desk.api_keys.lock().unwrap().insert(token.to_owned(), answer);
    }

    pub fn introspections(&self) -> usize {
        self.desk.introspections.load(Ordering::SeqCst)
    }

    pub fn holds_introspections(&self, hold: bool) {
        self.desk.introspection_held.send_replace(hold);
    }

    pub fn answers_introspections(&self, available: bool) {
        self.desk.introspection_available.store(available, Ordering::SeqCst);
    }

    // The revocation log

    pub fn revokes(&self, subject: &str) -> i64 {
        self.logs(EntryKind::Revoked, subject, None)
    }

    pub fn changes(&self, subject: &str) -> i64 {
        self.logs(EntryKind::Changed, subject, None)
    }

    /// A change that leaves no access token from before `issued_before` true.
    pub fn outdates_tokens(&self, subject: &str, issued_before: i64) -> i64 {
        self.logs(EntryKind::Changed, subject, Some(issued_before))
    }

    fn logs(&self, kind: EntryKind, subject: &str, issued_before: Option<i64>) -> i64 {
        let mut log = self.desk.log.lock().unwrap();
        let seq = log.last_seq() + 1;
        let (subject, expires_at) = (subject.to_owned(), now() + 900);
        let entry = Entry { seq, kind, subject, expires_at, issued_before };
        let event = entry_event(&entry);
        log.entries.push(entry);
        log.listeners.retain(|listener| listener.send(event.clone()).is_ok());
        seq
    }

    /// Forgets that there was anything before, so that nobody can resume from there.
    pub fn trims_its_log(&self) {
        let mut log = self.desk.log.lock().unwrap();
        log.trimmed_to = log.last_seq();
    }

    pub fn drops_its_listeners(&self) {
        self.desk.log.lock().unwrap().listeners.clear();
    }

    /// The `Last-Event-ID` of each connection to the feed so far.
    pub fn last_event_ids(&self) -> Vec<Option<i64>> {
        self.desk.log.lock().unwrap().last_event_ids.clone()
    }

    pub fn listeners(&self) -> usize {
        let mut log = self.desk.log.lock().unwrap();
        log.listeners.retain(|listener| !listener.is_closed());
        log.listeners.len()
    }

    /// The next snapshot breaks off after so many entries.
    pub fn breaks_off_a_snapshot_after(&self, entries: usize) {
        self.desk.log.lock().unwrap().cuts.push_back(entries);
    }

    /// Answers nothing any more, and closes what is open; or is as it was before.
    pub fn is_away(&self, away: bool) {
        self.answers_introspections(!away);
        self.serves_its_keys(!away);
        self.refuses_listeners(away.then_some(StatusCode::BAD_GATEWAY));
        if away {
            self.drops_its_listeners();
        }
    }

    pub fn beats(&self, beating: bool) {
        self.desk.beating.store(beating, Ordering::SeqCst);
    }

    /// From now on the feed answers with this status alone.
    pub fn refuses_listeners(&self, status: Option<StatusCode>) {
        self.desk.log.lock().unwrap().status = status;
    }
}

impl Log {
    fn last_seq(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.seq)
    }
}

pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(json).unwrap());
    format!("{}.{}", part(header), part(claims))
}

pub fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "tokens are issued now")]
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn new_signing_key() -> (String, EncodingKey, Value) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
    let kid = jwk["x"].as_str().unwrap().to_owned();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    (kid, key, jwk)
}

fn is_authenticated(headers: &HeaderMap) -> bool {
    let expected = format!("Bearer {CREDENTIAL}");
    headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

async fn metadata(State(desk): State<Arc<Desk>>) -> Response {
    let metadata = desk.metadata.lock().unwrap().clone();
    match metadata["redirect"].as_str() {
        Some(to) => axum::response::Redirect::temporary(to).into_response(),
        None => Json(metadata).into_response(),
    }
}

async fn jwks(State(desk): State<Arc<Desk>>) -> Response {
    desk.jwks_asked.fetch_add(1, Ordering::SeqCst);
    if !desk.jwks_available.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let cache_control = desk.jwks_cache_control.lock().unwrap().clone();
    let mut response = Json(json!({ "keys": *desk.jwks.lock().unwrap() })).into_response();
    if let Some(value) = cache_control {
        response.headers_mut().insert(CACHE_CONTROL, value.parse().unwrap());
    }
    response
}

async fn introspect(State(desk): State<Arc<Desk>>, headers: HeaderMap, form: String) -> Response {
    if !is_authenticated(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (_, token) =
        url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "token").unwrap();
    // What is known when the question is put, however long the answer takes.
    let answer = desk.api_keys.lock().unwrap().get(token.as_ref()).cloned();
    desk.introspections.fetch_add(1, Ordering::SeqCst);
    desk.introspection_held.subscribe().wait_for(|held| !held).await.unwrap();
    if !desk.introspection_available.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(answer.unwrap_or(json!({"active": false}))).into_response()
}

async fn revocations(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let last_event_id: Option<i64> =
        headers.get("Last-Event-ID").map(|id| id.to_str().unwrap().parse().unwrap());
    let mut log = desk.log.lock().unwrap();
    log.last_event_ids.push(last_event_id);
    if !is_authenticated(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(status) = log.status {
        return status.into_response();
    }
    let (listener, events) = mpsc::unbounded_channel();
    let after = last_event_id.filter(|id| *id >= log.trimmed_to);
    if last_event_id.is_some() && after.is_none() {
        listener.send("event: reset\ndata: {}\n\n".to_owned()).unwrap();
    }
    let cut = log.cuts.pop_front();
    let entries = log.entries.iter().filter(|entry| after.is_none_or(|id| entry.seq > id));
    for entry in entries.take(cut.unwrap_or(usize::MAX)) {
        listener.send(entry_event(entry)).unwrap();
    }
    if cut.is_none() {
        listener.send(format!("event: ready\nid: {}\ndata: {{}}\n\n", log.last_seq())).unwrap();
        log.listeners.push(listener);
    }
    let stream = futures::stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(stream))
        .into_response()
}

fn entry_event(entry: &Entry) -> String {
    let data = serde_json::to_string(entry).unwrap();
    format!("event: entry\nid: {}\ndata: {data}\n\n", entry.seq)
}

async fn beat(desk: Arc<Desk>) {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if desk.beating.load(Ordering::SeqCst) {
            let mut log = desk.log.lock().unwrap();
            log.listeners.retain(|listener| listener.send(":\n\n".to_owned()).is_ok());
        }
    }
}
