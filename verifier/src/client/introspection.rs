//! Asking the authorization server about a credential (RFC 7662).

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::http::{FetchError, Http};
use crate::network::Network;
use crate::principal::ApiKey;
use crate::scope::ScopeSet;

/// How many questions may be under way at once: strangers can make up keys faster than a server answers.
const MAX_AT_ONCE: usize = 64;
const LONGEST_QUEUE: Duration = Duration::from_secs(5);

/// The introspection endpoint.
pub(super) struct Introspection {
    http: Arc<Http>,
    url: Url,
    at_once: Semaphore,
    asked: AtomicU64,
    unanswered: AtomicU64,
}

/// A key that the server vouches for.
pub(super) struct Active {
    pub(super) key: ApiKey,
    /// From where it may be used; `None` is from anywhere.
    pub(super) allowed_networks: Option<Vec<Network>>,
}

/// There was no answer that could be relied on.
#[derive(Debug)]
pub(super) struct NoAnswer;

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    org: Option<String>,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    scope: ScopeSet,
    #[serde(default)]
    exp: Option<i64>,
    #[serde(default)]
    creator: Option<String>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    allowed_ips: Option<Vec<Network>>,
}

impl Introspection {
    pub(super) fn new(http: Arc<Http>, url: Url) -> Introspection {
        Introspection {
            http,
            url,
            at_once: Semaphore::new(MAX_AT_ONCE),
            asked: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        }
    }

    /// How many questions have been put, and how many of them brought no answer.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.unanswered.load(Ordering::Relaxed))
    }

    /// What the server knows of an API key; `None` when it is no key, or none that is valid.
    pub(super) async fn api_key(&self, key: &str) -> Result<Option<Active>, NoAnswer> {
        let body = self.ask(&[("token", key), ("network_check", "local")]).await?;
        self.reads(read(&body))
    }

    /// Whether the server still accepts an access token with this `jti`.
    pub(super) async fn accepts_token(&self, token: &str, jti: &str) -> Result<bool, NoAnswer> {
        let body = self.ask(&[("token", token), ("token_type_hint", "access_token")]).await?;
        self.reads(read_token(&body, jti))
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Result<Vec<u8>, NoAnswer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Ok(Ok(_permit)) = timeout(LONGEST_QUEUE, self.at_once.acquire()).await else {
            tracing::warn!(url = %self.url, "too many introspections are under way");
            return Err(self.no_answer());
        };
        let mut answer = self.http.post_form(&self.url, form).await;
        // A question changes nothing. Where one of several servers has died over it, another is there to answer.
        if answer.as_ref().is_err_and(FetchError::is_broken_connection) {
            answer = self.http.post_form(&self.url, form).await;
        }
        answer.map_err(|error| {
            let error = &error as &dyn Error;
            tracing::warn!(url = %self.url, error, "a credential could not be introspected");
            self.no_answer()
        })
    }

    fn reads<T>(&self, read: Result<T, serde_json::Error>) -> Result<T, NoAnswer> {
        read.map_err(|error| {
            let error = &error as &dyn Error;
            tracing::warn!(url = %self.url, error, "an introspection's answer can't be read");
            self.no_answer()
        })
    }

    fn no_answer(&self) -> NoAnswer {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        NoAnswer
    }
}

fn read_token(body: &[u8], jti: &str) -> Result<bool, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(body)?;
    let is_token = answer.token_type.is_some_and(|name| name.eq_ignore_ascii_case("Bearer"));
    Ok(answer.active && is_token && answer.jti.as_deref() == Some(jti))
}

fn read(body: &[u8]) -> Result<Option<Active>, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(body)?;
    // Other credentials that the endpoint knows (a refresh token, say) must not pass for an API key.
    if !answer.active || answer.token_type.as_deref() != Some("api_key") {
        return Ok(None);
    }
    let required =
        |member: Option<String>, name| member.ok_or_else(|| serde::de::Error::missing_field(name));
    let id: String = required(answer.api_key, "api_key")?;
    Ok(Some(Active {
        key: ApiKey {
            subject: answer.sub.unwrap_or_else(|| id.clone()),
            organization: required(answer.org, "org")?,
            project: answer.project,
            scopes: answer.scope,
            creator: answer.creator,
            owner: answer.owner,
            expires_at: answer.exp,
            id,
        },
        allowed_networks: answer.allowed_ips,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server whose connections end as these say: with no answer, or with this one.
    async fn server_with(answers: Vec<Option<&'static str>>) -> (Introspection, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(read > 0);
                if let Some(answer) = answer {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let http = Http::new("credential".into(), true).unwrap();
        (Introspection::new(Arc::new(http), url.parse().unwrap()), accepted)
    }

    #[tokio::test]
    async fn a_question_over_which_a_server_died_is_put_once_more() {
        const INACTIVE: &str =
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 16\r\n\r\n{\"active\":false}";
        const BROKEN: &str = "HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (introspection, accepted) = server_with(vec![None, Some(INACTIVE)]).await;
        assert!(introspection.api_key("x").await.unwrap().is_none());
        assert_eq!((accepted.load(Ordering::Relaxed), introspection.counts()), (2, (1, 0)));

        let (introspection, accepted) = server_with(vec![None, None, Some(INACTIVE)]).await;
        assert!(introspection.api_key("x").await.is_err());
        assert_eq!((accepted.load(Ordering::Relaxed), introspection.counts()), (2, (1, 1)));

        // An answer is one, also when it says that the server has failed.
        let (introspection, accepted) = server_with(vec![Some(BROKEN), Some(INACTIVE)]).await;
        assert!(introspection.api_key("x").await.is_err());
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
    }

    fn answer() -> Value {
        json!({
            "active": true, "token_type": "api_key", "api_key": "key_1", "sub": "key_1",
            "org": "org_1", "project": "prj_1", "scope": "read:tenants", "iat": 1, "exp": 2,
            "creator": "usr_1", "owner": "usr_2", "new": "member",
        })
    }

    fn changed(member: &str, value: Value) -> Result<Option<ApiKey>, ()> {
        let mut answer = answer();
        answer[member] = value;
        let body = serde_json::to_vec(&answer).unwrap();
        read(&body).map(|active| active.map(|active| active.key)).map_err(|_| ())
    }

    #[test]
    fn an_active_key_is_read() {
        let key = changed("x", json!(1)).unwrap().unwrap();
        assert_eq!((key.id.as_str(), key.organization.as_str()), ("key_1", "org_1"));
        assert_eq!(
            (key.project.as_deref(), key.creator.as_deref()),
            (Some("prj_1"), Some("usr_1"))
        );
        assert_eq!((key.scopes.to_string().as_str(), key.expires_at), ("read:tenants", Some(2)));
    }

    #[test]
    fn a_key_without_an_owner_belongs_to_the_organization() {
        let owner = |value: Value| changed("owner", value).map(|key| key.unwrap().owner);
        assert_eq!(owner(json!("usr_2")), Ok(Some("usr_2".to_owned())));
        assert_eq!(owner(Value::Null), Ok(None));
        assert_eq!(owner(json!(2)), Err(()));
        let mut absent = answer();
        absent.as_object_mut().unwrap().remove("owner");
        let read = read(&serde_json::to_vec(&absent).unwrap()).unwrap().unwrap();
        assert_eq!((read.key.owner, read.key.creator.as_deref()), (None, Some("usr_1")));
    }

    #[test]
    fn only_an_active_api_key_counts() {
        assert_eq!(changed("active", json!(false)), Ok(None));
        assert_eq!(changed("token_type", json!("access_token")), Ok(None));
        assert_eq!(changed("token_type", json!("Bearer")), Ok(None));
        assert_eq!(changed("token_type", Value::Null), Ok(None));
        assert!(read(br#"{"active":false}"#).unwrap().is_none());
    }

    #[test]
    fn half_an_answer_is_none() {
        for member in ["api_key", "org"] {
            assert_eq!(changed(member, Value::Null), Err(()), "{member}");
        }
        assert_eq!(changed("scope", json!("No Scope")), Err(()));
        assert_eq!(changed("active", json!("yes")), Err(()));
        assert_eq!(changed("allowed_ips", json!(["anywhere"])), Err(()));
    }

    #[test]
    fn a_list_of_networks_is_read() {
        let networks = |networks: Value| {
            let mut answer = answer();
            answer["allowed_ips"] = networks;
            read(&serde_json::to_vec(&answer).unwrap()).unwrap().unwrap().allowed_networks
        };
        let expected = vec!["198.51.100.0/24".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
        assert_eq!(networks(json!(["198.51.100.0/24", "192.0.2.0/24"])), Some(expected));
        assert_eq!(networks(json!([])), Some(Vec::new()));
        assert_eq!(networks(Value::Null), None);
    }

    #[test]
    fn a_token_lives_if_the_answer_is_about_that_very_token() {
        let accepts = |member: &str, value: Value| {
            let mut answer = json!({"active": true, "token_type": "Bearer", "jti": "tok_1"});
            answer[member] = value;
            read_token(&serde_json::to_vec(&answer).unwrap(), "tok_1").ok()
        };
        assert_eq!(accepts("x", json!(1)), Some(true));
        assert_eq!(accepts("token_type", json!("bearer")), Some(true));
        assert_eq!(accepts("active", json!(false)), Some(false));
        assert_eq!(accepts("token_type", json!("api_key")), Some(false));
        assert_eq!(accepts("token_type", Value::Null), Some(false));
        assert_eq!(accepts("jti", json!("tok_2")), Some(false));
        assert_eq!(accepts("jti", Value::Null), Some(false));
        assert_eq!(accepts("active", json!("yes")), None);
    }
}
