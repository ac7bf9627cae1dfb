use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use entity::{OrganizationId, ProjectId, ResourceServerId, Timestamp};
use portcullis_verifier::{Scope, ScopeSet};

use super::{AllowedNetworks, ApiKey, Status};
use crate::resource_servers::{ResourceServer, management_catalog};

/// What checking a key found: a value, not an error. The face decides how little of it the outside may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good for these scopes.
    Valid(ScopeSet),
    /// There is no such key, or none that is any business of whoever asks.
    Unknown,
    Revoked,
    Expired,
    /// Whoever uses it is where it may not be used.
    WrongNetwork,
    /// It may not do what the call requires; these are its scopes. None where its owner may do nothing of it any more.
    MissingScope(ScopeSet),
    /// It is used too often.
    RateLimited,
}

/// Who asks about a key.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// The management API, at which the key is used.
    Ourselves,
    /// An API at which the key is used. It sees keys that mean something there.
    ResourceServer(&'a ResourceServer),
    /// Somebody of the organization, about its own keys.
    Organization {
        id: OrganizationId,
        /// The project that they are confined to.
        project: Option<ProjectId>,
        /// The API at which the key is used; none for what it may do at any.
        at: Option<&'a ResourceServer>,
    },
}

/// From where a key is used.
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

    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => address,
            Self::CheckedElsewhere => None,
        }
    }
}

/// What a key is to be good for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub asker: Asker<'a>,
    pub from: UsedFrom,
    /// What the call requires; none where that is for whoever asks to see.
    pub scope: Option<&'a Scope>,
}

/// What was found of a key.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub key: &'a ApiKey,
    /// When the secret that was presented ends, if it was rotated out.
    pub secret_ends: Option<Timestamp>,
    /// The most that its owner may do.
    pub reach: &'a ScopeSet,
    /// What the key may do within that.
    pub scopes: &'a ScopeSet,
    /// Of these facts and no others.
    pub memo: &'a Memo,
}

/// What a key may do at the API that asked about it last: most keys are used at one.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Option<(ResourceServerId, i32, Option<ScopeSet>)>>);

impl Memo {
    fn scopes_for(&self, facts: &Facts<'_>, asker: Asker<'_>) -> Option<ScopeSet> {
        let Asker::ResourceServer(api) = asker else { return scopes_for(facts, asker) };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            // An API whose catalog, or whose circle, is another has another version.
            Some((id, version, scopes)) if (*id, *version) == (api.id, api.version) => {
                scopes.clone()
            }
            _ => {
                let scopes = scopes_for(facts, asker);
                *last = Some((api.id, api.version, scopes.clone()));
                scopes
            }
        }
    }
}

/// Decides over a key that was found: whether it concerns whoever asks, then its own state, from where it is used,
/// and what it may do now.
#[must_use]
pub fn decide(facts: &Facts<'_>, wanted: &Wanted<'_>, now: Timestamp) -> Verdict {
    let Some(scopes) = facts.memo.scopes_for(facts, wanted.asker) else {
        return Verdict::Unknown;
    };
    let is_over = facts.secret_ends.is_some_and(|end| end <= now);
    match facts.key.status(now) {
        // A decoy was never good for anything.
        _ if facts.key.is_decoy => Verdict::Unknown,
        Status::Revoked => Verdict::Revoked,
        Status::Expired => Verdict::Expired,
        Status::Active if is_over => Verdict::Revoked,
        Status::Active if !wanted.from.is_allowed(&facts.key.allowed_networks) => {
            Verdict::WrongNetwork
        }
        Status::Active if facts.scopes.is_empty() => Verdict::MissingScope(ScopeSet::default()),
        // Without scopes it is as good as none: no API must take "valid" for "may call". We do not.
        Status::Active if scopes.is_empty() && !matches!(wanted.asker, Asker::Ourselves) => {
            Verdict::MissingScope(scopes)
        }
        Status::Active if wanted.scope.is_some_and(|scope| !scopes.covers(scope)) => {
            Verdict::MissingScope(scopes)
        }
        Status::Active => Verdict::Valid(scopes),
    }
}

/// What the key may do where it is used; none where it is no business of whoever asks.
fn scopes_for(facts: &Facts<'_>, asker: Asker<'_>) -> Option<ScopeSet> {
    let at =
        |api: &ResourceServer| api.catalog.within(&api.catalog.relevant(facts.scopes), facts.reach);
    match asker {
        Asker::Ourselves => Some(management_catalog().within(facts.scopes, facts.reach)),
        Asker::Organization { id, .. } if id != facts.key.organization => None,
        Asker::Organization { project: Some(own), .. } if facts.key.project != Some(own) => None,
        Asker::Organization { at: None, .. } => Some(facts.scopes.clone()),
        Asker::Organization { at: Some(api), .. } => Some(at(api)),
        Asker::ResourceServer(api) if !api.is_offered_to(facts.key.organization) => None,
        // What means nothing there is foreign (RFC 7662 §4). What its owner may not do any more may have meant something.
        Asker::ResourceServer(api) => {
            let meant = !api.catalog.relevant(&facts.key.scopes).is_empty();
            meant.then(|| at(api))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_keys::Labels;
    use crate::tenancy::Role;
    use entity::{ApiKeyId, UserId};

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

    fn own(key: &ApiKey) -> Asker<'static> {
        Asker::Organization { id: key.organization, project: None, at: None }
    }

    fn verdict(key: &ApiKey, reach: &ScopeSet, from: UsedFrom, now: i64) -> Verdict {
        let scopes = key.scopes.intersection(reach);
        let facts =
            Facts { key, secret_ends: None, reach, scopes: &scopes, memo: &Memo::default() };
        let asker = own(key);
        decide(&facts, &Wanted { asker, from, scope: None }, Timestamp(now))
    }

    fn valid(scopes: &str) -> Verdict {
        Verdict::Valid(scopes.parse().unwrap())
    }

    const ANYWHERE: UsedFrom = UsedFrom::Address(None);

    #[test]
    fn a_key_is_good_until_the_very_moment_of_its_expiry() {
        let key = key("read:tenants");
        let owner = Role::Owner.scopes();
        assert_eq!(verdict(&key, owner, ANYWHERE, 1999), valid("read:tenants"));
        assert_eq!(verdict(&key, owner, ANYWHERE, 2000), Verdict::Expired);
    }

    #[test]
    fn a_key_works_only_from_its_networks() {
        let only = AllowedNetworks::Only(vec!["192.0.2.0/24".parse().unwrap()]);
        let key = ApiKey { allowed_networks: only, ..key("read:tenants") };
        let from = |from| verdict(&key, Role::Owner.scopes(), from, 1500);
        let good = valid("read:tenants");
        assert_eq!(from(UsedFrom::Address("192.0.2.7".parse().ok())), good);
        assert_eq!(from(UsedFrom::Address("203.0.113.1".parse().ok())), Verdict::WrongNetwork);
        assert_eq!(from(UsedFrom::Address(None)), Verdict::WrongNetwork);
        assert_eq!(from(UsedFrom::CheckedElsewhere), good);
    }

    #[test]
    fn revoked_wins_over_expired() {
        let key = ApiKey { revoked_at: Some(Timestamp(1500)), ..key("read:tenants") };
        assert_eq!(verdict(&key, Role::Owner.scopes(), ANYWHERE, 3000), Verdict::Revoked);
    }

    #[test]
    fn a_key_reaches_no_further_than_its_owner_does_now() {
        let key = key("write:tenants admin:users");
        let reached = |reach: &ScopeSet| verdict(&key, reach, ANYWHERE, 1500);
        assert_eq!(reached(Role::Member.scopes()), valid("write:tenants write:users"));
        assert_eq!(reached(Role::Viewer.scopes()), valid("read:tenants read:users"));
        assert_eq!(reached(&ScopeSet::default()), Verdict::MissingScope(ScopeSet::default()));
    }

    #[test]
    fn a_call_may_require_a_scope() {
        let key = key("read:tenants/eu/*");
        let required = |text: &str| {
            let (scope, reach): (Scope, _) = (text.parse().unwrap(), Role::Owner.scopes());
            let facts = Facts {
                key: &key,
                secret_ends: None,
                reach,
                scopes: &key.scopes,
                memo: &Memo::default(),
            };
            let asker = own(&key);
            let wanted = Wanted { asker, from: ANYWHERE, scope: Some(&scope) };
            decide(&facts, &wanted, Timestamp(1500))
        };
        assert_eq!(required("read:tenants/eu/acme"), valid("read:tenants/eu/*"));
        let missing = Verdict::MissingScope("read:tenants/eu/*".parse().unwrap());
        assert_eq!(required("read:tenants/us/acme"), missing);
        assert_eq!(required("read:tenants"), missing);
        assert_eq!(required("write:tenants/eu/acme"), missing);
    }

    #[test]
    fn a_secret_that_was_rotated_out_ends_with_its_grace() {
        let key = key("read:tenants");
        let at = |now| {
            let reach = Role::Owner.scopes();
            let secret_ends = Some(Timestamp(1600));
            let facts = Facts {
                key: &key,
                secret_ends,
                reach,
                scopes: &key.scopes,
                memo: &Memo::default(),
            };
            let asker = own(&key);
            decide(&facts, &Wanted { asker, from: ANYWHERE, scope: None }, Timestamp(now))
        };
        assert_eq!(at(1599), valid("read:tenants"));
        assert_eq!(at(1600), Verdict::Revoked);
    }

    #[test]
    fn a_key_of_somebody_else_is_unknown_whatever_its_state() {
        let key = ApiKey { revoked_at: Some(Timestamp(1500)), ..key("read:tenants") };
        let reach = Role::Owner.scopes();
        let facts = Facts {
            key: &key,
            secret_ends: None,
            reach,
            scopes: &key.scopes,
            memo: &Memo::default(),
        };
        let id = OrganizationId::new(Timestamp(7));
        let stranger = Asker::Organization { id, project: None, at: None };
        let wanted = Wanted { asker: stranger, from: ANYWHERE, scope: None };
        assert_eq!(decide(&facts, &wanted, Timestamp(1600)), Verdict::Unknown);
    }
}
