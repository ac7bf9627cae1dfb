use entity::Timestamp;
use portcullis_verifier::ScopeSet;

use super::{ApiKey, Status};

/// What checking a key found: a value, not an error. The face decides how little of it the outside may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good for these scopes.
    Valid(ScopeSet),
    Unknown,
    Revoked,
    Expired,
    /// Its owner may do nothing of it any more.
    Powerless,
}

/// Decides over a key that was found: its own state, then what its owner may do now.
#[must_use]
pub fn decide(key: &ApiKey, reach: Option<&ScopeSet>, now: Timestamp) -> Verdict {
    match key.status(now) {
        Status::Revoked => Verdict::Revoked,
        Status::Expired => Verdict::Expired,
        Status::Active => {
            let scopes = reach.map(|reach| key.scopes.intersection(reach)).unwrap_or_default();
            if scopes.is_empty() { Verdict::Powerless } else { Verdict::Valid(scopes) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::Role;
    use entity::{ApiKeyId, OrganizationId, UserId};

    fn key(scopes: &str) -> ApiKey {
        let at = Timestamp(1000);
        ApiKey {
            id: ApiKeyId::new(at),
            organization: OrganizationId::new(at),
            project: None,
            name: "script".to_owned(),
            scopes: scopes.parse().unwrap(),
            environment: "live".to_owned(),
            created_by: UserId::new(at),
            owner: Some(UserId::new(at)),
            version: 1,
            created_at: at,
            expires_at: Some(Timestamp(2000)),
            revoked_at: None,
            start: String::new(),
            end: String::new(),
            rotating_until: None,
        }
    }

    #[test]
    fn a_key_is_good_until_the_very_moment_of_its_expiry() {
        let key = key("read:tenants");
        assert_eq!(
            decide(&key, Some(Role::Owner.scopes()), Timestamp(1999)),
            Verdict::Valid("read:tenants".parse().unwrap())
        );
        assert_eq!(decide(&key, Some(Role::Owner.scopes()), Timestamp(2000)), Verdict::Expired);
    }

    #[test]
    fn revoked_wins_over_expired() {
        let key = ApiKey { revoked_at: Some(Timestamp(1500)), ..key("read:tenants") };
        assert_eq!(decide(&key, Some(Role::Owner.scopes()), Timestamp(3000)), Verdict::Revoked);
    }

    #[test]
    fn a_key_reaches_no_further_than_its_owner_does_now() {
        let key = key("write:tenants admin:users");
        let at = Timestamp(1500);
        assert_eq!(
            decide(&key, Some(Role::Member.scopes()), at),
            Verdict::Valid("write:tenants write:users".parse().unwrap())
        );
        assert_eq!(
            decide(&key, Some(Role::Viewer.scopes()), at),
            Verdict::Valid("read:tenants read:users".parse().unwrap())
        );
        assert_eq!(decide(&key, None, at), Verdict::Powerless);
    }
}
