//! A server of somebody else's on a loopback port: it keeps what it is sent and answers what it was told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where all requests to somebody else arrive.
pub struct Hook {
    address: String,
    answer: Arc<Mutex<Reply>>,
    received: UnboundedReceiver<Received>,
}

/// What it answers.
#[derive(Debug, Clone, Default)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// A request as it arrived.
#[derive(Debug)]
pub struct Received {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

type Shared = (Arc<Mutex<Reply>>, UnboundedSender<Received>);

impl Hook {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = unbounded_channel();
        let answer = Arc::new(Mutex::new(Reply::default()));
        let shared: Shared = (answer.clone(), sender);
        let router = Router::new().fallback(take).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, answer, received }
    }

    pub fn url(&self) -> String {
        format!("{}/hook", self.address)
    }

    /// What it answers from now on.
    pub fn answers(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_owned());
        *self.answer.lock().unwrap() = Reply { status, headers: headers.collect(), body };
    }

    /// The next request, within ten seconds.
    pub async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(10), self.received.recv());
        next.await.expect("no request for ten seconds").unwrap()
    }

    /// How many requests have arrived that were not looked at.
    pub fn waiting(&self) -> usize {
        self.received.len()
    }
}

async fn take(
    State((answer, sender)): State<Shared>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    // A test that has ended does not look.
    let _ = sender.send(Received { method, headers, body });
    let reply = answer.lock().unwrap().clone();
    (reply.status, reply.headers, reply.body).into_response()
}
