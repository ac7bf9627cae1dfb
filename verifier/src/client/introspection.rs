//! Asking the authorization server about an API key (RFC 7662).

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::http::Http;
use crate::network::{Network, may_be_used_from};
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
        Introspection { http, url, at_once: Semaphore::new(MAX_AT_ONCE) }
    }

    /// What the server knows of an API key; `None` when it is no key, or none that is valid.
    pub(super) async fn ask(&self, key: &str) -> Result<Option<Active>, NoAnswer> {
        let Ok(Ok(_permit)) = timeout(LONGEST_QUEUE, self.at_once.acquire()).await else {
            tracing::warn!(url = %self.url, "too many introspections are under way");
            return Err(NoAnswer);
        };
        let body = self
            .http
            .post_form(&self.url, &[("token", key), ("network_check", "local")])
            .await
            .map_err(|error| {
                let error = &error as &dyn Error;
                tracing::warn!(url = %self.url, error, "an API key could not be introspected");
                NoAnswer
            })?;
        read(&body).map_err(|error| {
            let error = &error as &dyn Error;
            tracing::warn!(url = %self.url, error, "an introspection's answer can't be read");
            NoAnswer
        })
    }
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

impl Active {
    /// Whether the key may be used from `address`. An unknown address is no match for a list.
    pub(super) fn may_be_used_from(&self, address: Option<IpAddr>) -> bool {
        may_be_used_from(self.allowed_networks.as_deref(), address)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
    fn a_list_of_networks_confines_a_key() {
        let active = |networks: Value| {
            let mut answer = answer();
            answer["allowed_ips"] = networks;
            read(&serde_json::to_vec(&answer).unwrap()).unwrap().unwrap()
        };
        let inside = Some("192.0.2.7".parse().unwrap());
        let list = active(json!(["198.51.100.0/24", "192.0.2.0/24"]));
        assert!(list.may_be_used_from(inside));
        assert!(!list.may_be_used_from(Some("203.0.113.1".parse().unwrap())));
        assert!(!list.may_be_used_from(None));
        assert!(!active(json!([])).may_be_used_from(inside));
        assert!(active(Value::Null).may_be_used_from(None));
    }
}
