//! A reader of `GET /oauth/revocations`.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::actors::{Answer, http};
use super::server::Server;

/// One server-sent event.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Event {
    pub fn seq(&self) -> i64 {
        self.id.parse().unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub fn subject(&self) -> &str {
        self.data["subject"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// A connected feed.
pub struct Feed {
    response: Response,
    read: String,
}

impl Feed {
    /// What the server answers to a reader who has seen everything up to an id.
    pub async fn asks(server: &Server, credential: &str, last_seen: Option<&str>) -> Response {
        let mut request = http().get(server.url("/oauth/revocations")).bearer_auth(credential);
        if let Some(id) = last_seen {
            request = request.header("last-event-id", id);
        }
        request.send().await.unwrap()
    }

    /// What a reader gets who asks for the log page by page.
    pub async fn polls(server: &Server, credential: &str, since: Option<i64>) -> Answer {
        let url = server.url("/oauth/revocations");
        let mut request =
            http().get(url).bearer_auth(credential).header("accept", "application/json");
        if let Some(since) = since {
            request = request.query(&[("since", since)]);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn of(server: &Server, credential: &str, last_seen: Option<&str>) -> Self {
        Self::from(Self::asks(server, credential, last_seen).await)
    }

    pub fn from(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: String::new() }
    }

    /// The next event, within ten seconds.
    pub async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(Duration::from_secs(10), self.read_event());
        next.await.expect("no event for ten seconds")
    }

    /// Everything before `ready`, and the event itself.
    pub async fn until_ready(&mut self) -> (Vec<Event>, Event) {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                ready if ready.name == "ready" => return (before, ready),
                event => before.push(event),
            }
        }
    }

    /// What else comes until the server ends the feed.
    pub async fn rest(mut self) -> String {
        while let Some(chunk) = self.response.chunk().await.unwrap() {
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        self.read
    }

    async fn read_event(&mut self) -> Event {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let event = parse(event);
                self.read = rest.to_owned();
                if let Some(event) = event {
                    return event;
                }
            }
            let chunk = self.response.chunk().await.unwrap().expect("the feed has ended");
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// None for a comment that only keeps the connection alive.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim_start().to_owned()).unwrap_or_default()
    };
    let data = field("data");
    (!data.is_empty()).then(|| Event {
        name: field("event"),
        id: field("id"),
        data: serde_json::from_str(&data).unwrap(),
    })
}
