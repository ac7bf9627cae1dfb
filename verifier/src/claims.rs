//! The claims of an access token (RFC 9068 §2.2).

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::network::{Network, may_be_used_from};
use crate::scope::ScopeSet;

/// What an access token says. Claims that aren't listed here are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    /// The authorization server that issued the token.
    pub iss: String,
    /// The user, or the client when it acts for itself.
    pub sub: String,
    /// The resource servers that may accept the token.
    pub aud: Audience,
    /// When the token ends, in seconds since 1970.
    pub exp: i64,
    /// When the token was issued, in seconds since 1970.
    pub iat: i64,
    /// Before when the token isn't valid yet, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The token's own id.
    pub jti: String,
    /// The client that the token was issued to.
    pub client_id: String,
    /// What the token allows. Absent means nothing.
    #[serde(default)]
    pub scope: ScopeSet,
    /// The organization in whose name the token acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The project that the token is confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The grant that the token descends from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The API key that the token was exchanged for (RFC 8693).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// The one of its secrets that was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<String>,
    /// The user whose role bounds the API key. `None` when the organization itself owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// From where the API key may be used. `None` is from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<Vec<Network>>,
    /// Where its status is told, to whom the revocation feed is out of reach (draft-ietf-oauth-status-list).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The `status` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The token's place in a status list.
    pub status_list: StatusListReference,
}

/// A place in a status list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusListReference {
    /// The place in the list.
    pub idx: u64,
    /// Where the list is.
    pub uri: String,
}

impl AccessTokenClaims {
    /// Whether the token may be used from `address`. An unknown address is no match for a list.
    pub fn may_be_used_from(&self, address: Option<IpAddr>) -> bool {
        may_be_used_from(self.allowed_ips.as_deref(), address)
    }
}

/// The `aud` claim: in JSON a string when it is one audience and else an array of strings (RFC 7519 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Vec<String>);

impl Audience {
    /// Whether `audience` is among these, compared character by character.
    pub fn contains(&self, audience: &str) -> bool {
        self.iter().any(|each| each == audience)
    }

    /// Each audience in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl From<String> for Audience {
    fn from(audience: String) -> Audience {
        Audience(vec![audience])
    }
}

impl From<&str> for Audience {
    fn from(audience: &str) -> Audience {
        Audience(vec![audience.to_owned()])
    }
}

impl From<Vec<String>> for Audience {
    fn from(audiences: Vec<String>) -> Audience {
        Audience(audiences)
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [single] => single.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Audience, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(audience) => audience.into(),
            OneOrMany::Many(audiences) => audiences.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_audience_is_a_string_or_an_array() {
        let audience = |json| serde_json::from_value::<Audience>(json).ok();
        assert_eq!(audience(json!("a")), Some("a".into()));
        assert_eq!(audience(json!(["a"])), Some("a".into()));
        let both = audience(json!(["a", "b"])).unwrap();
        assert!(both.contains("a") && both.contains("b") && !both.contains("A"));
        assert!(!audience(json!([])).unwrap().contains(""));
        assert_eq!(audience(json!(1)), None);
        assert_eq!(audience(json!([1])), None);
        assert_eq!(serde_json::to_value(Audience::from("a")).unwrap(), json!("a"));
        assert_eq!(serde_json::to_value(both).unwrap(), json!(["a", "b"]));
    }

    #[test]
    fn absent_claims_stay_absent() {
        let json = json!({
            "iss": "https://auth.example.com", "sub": "usr_1", "aud": "https://api.example.com",
            "exp": 2, "iat": 1, "jti": "tok_1", "client_id": "app_1", "scope": "read:tenants",
        });
        let claims: AccessTokenClaims = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(claims).unwrap(), json);
    }
}
