use std::net::IpAddr;

use entity::Timestamp;
use portcullis_verifier::ScopeSet;

use super::{AllowedNetworks, ApiKey, Status};

/// What checking a key found: a value, not an error. The face decides how little of it the outside may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good for these scopes.
    Valid(ScopeSet),
    Unknown,
    Revoked,
    Expired,
    /// Whoever uses it is where it may not be used.
    WrongNetwork,
    /// Its owner may do nothing of it any more.
    Powerless,
}

/// UsedFrom where a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedFrom {
    /// An address; none where it is not known, which no list of networks allows.
    Address(Option<IpAddr>),
    /// Whoever asks holds the address against the list on their own.
    CheckedElsewhere,
}

impl UsedFrom {
    fn is_allowed(self, networks: &AllowedNetworks) -> bool {
        match self {
            Self::Address(address) => networks.allow(address),
            Self::CheckedElsewhere => true,
        }
    }
}

/// Decides over a key that was found: its own state, from where it is used, then what its owner may do now.
#[must_use]
pub fn decide(key: &ApiKey, reach: Option<&ScopeSet>, from: UsedFrom, now: Timestamp) -> Verdict {
    match key.status(now) {
        Status::Revoked => Verdict::Revoked,
        Status::Expired => Verdict::Expired,
        Status::Active if !from.is_allowed(&key.allowed_networks) => Verdict::WrongNetwork,
        Status::Active => {
            let scopes = reach.map(|reach| key.scopes.intersection(reach)).unwrap_or_default();
            if scopes.is_empty() { Verdict::Powerless } else { Verdict::Valid(scopes) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_keys::Labels;
    use crate::tenancy::Role;
    use entity::{ApiKeyId, OrganizationId, UserId};

    fn key(scopes: &str) -> ApiKey {
        let at = Timestamp(1000);
        ApiKey {
            id: ApiKeyId::new(at),
            organization: OrganizationId::new(at),
            project: None,
            name: "script".to_owned(),
            description: String::new(),
            labels: Labels::new(),
            allowed_networks: AllowedNetworks::Anywhere,
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
            revoked_reason: None,
            brand: None,
            requests_per_minute: None,
            is_decoy: false,
            last_use: None,
            older_secret_use: None,
        }
    }

    #[test]
    fn a_key_is_good_until_the_very_moment_of_its_expiry() {
        let key = key("read:tenants");
        assert_eq!(
            decide(&key, Some(Role::Owner.scopes()), UsedFrom::Address(None), Timestamp(1999)),
            Verdict::Valid("read:tenants".parse().unwrap())
        );
        assert_eq!(
            decide(&key, Some(Role::Owner.scopes()), UsedFrom::Address(None), Timestamp(2000)),
            Verdict::Expired
        );
    }

    #[test]
    fn a_key_works_only_from_its_networks() {
        let only = AllowedNetworks::Only(vec!["192.0.2.0/24".parse().unwrap()]);
        let key = ApiKey { allowed_networks: only, ..key("read:tenants") };
        let from = |from| decide(&key, Some(Role::Owner.scopes()), from, Timestamp(1500));
        let good = Verdict::Valid("read:tenants".parse().unwrap());
        assert_eq!(from(UsedFrom::Address("192.0.2.7".parse().ok())), good);
        assert_eq!(from(UsedFrom::Address("203.0.113.1".parse().ok())), Verdict::WrongNetwork);
        assert_eq!(from(UsedFrom::Address(None)), Verdict::WrongNetwork);
        assert_eq!(from(UsedFrom::CheckedElsewhere), good);
    }

    #[test]
    fn revoked_wins_over_expired() {
        let key = ApiKey { revoked_at: Some(Timestamp(1500)), ..key("read:tenants") };
        assert_eq!(
            decide(&key, Some(Role::Owner.scopes()), UsedFrom::Address(None), Timestamp(3000)),
            Verdict::Revoked
        );
    }

    #[test]
    fn a_key_reaches_no_further_than_its_owner_does_now() {
        let key = key("write:tenants admin:users");
        let at = Timestamp(1500);
        assert_eq!(
            decide(&key, Some(Role::Member.scopes()), UsedFrom::Address(None), at),
            Verdict::Valid("write:tenants write:users".parse().unwrap())
        );
        assert_eq!(
            decide(&key, Some(Role::Viewer.scopes()), UsedFrom::Address(None), at),
            Verdict::Valid("read:tenants read:users".parse().unwrap())
        );
        assert_eq!(decide(&key, None, UsedFrom::Address(None), at), Verdict::Powerless);
    }
}
