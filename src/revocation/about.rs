//! Whom an entry concerns: who may see it in their feed.
//!
//! Every process of ours keeps every entry. A resource server is sent those that could kill something that it accepts:
//! a token or a key of an organization that may use it. Whoever appends says so, and where they can't know, the entry
//! concerns everybody: one too many is a line more, one too few lets somebody in.

use entity::{OrganizationId, ResourceServerId};

use super::Subject;

/// What an entry is about, and whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    pub(super) subject: Subject,
    pub(super) audience: Audience,
}

/// Whom an entry concerns; none: every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Audience {
    /// The organization whose tokens and keys it is about.
    pub organization: Option<OrganizationId>,
    pub resource_server: Option<ResourceServerId>,
}

impl Subject {
    /// It may be known anywhere: an account, which belongs to no organization; a signing key.
    #[must_use]
    pub fn for_everybody(self) -> About {
        self.about(None, None)
    }

    /// What descends from it is of one organization, at whichever API: an API key, a client, a project, a membership.
    ///
    /// A client's tokens may be another organization's than the client's own, but only at APIs that both may use, and
    /// those hear of either.
    #[must_use]
    pub fn of(self, organization: OrganizationId) -> About {
        self.about(Some(organization), None)
    }

    /// What descends from it is of one organization, for one API: a grant, a token.
    #[must_use]
    pub fn at(self, organization: OrganizationId, resource_server: ResourceServerId) -> About {
        self.about(Some(organization), Some(resource_server))
    }

    fn about(
        self,
        organization: Option<OrganizationId>,
        resource_server: Option<ResourceServerId>,
    ) -> About {
        About { subject: self, audience: Audience { organization, resource_server } }
    }
}

impl About {
    /// Whose tokens and keys it is about; none: everybody's.
    #[must_use]
    pub fn organization(&self) -> Option<OrganizationId> {
        self.audience.organization
    }

    /// A token, as far as its claims tell whose it is and for whom.
    #[must_use]
    pub fn token(
        id: entity::TokenId,
        organization: Option<OrganizationId>,
        resource_server: Option<ResourceServerId>,
    ) -> Self {
        Subject::Token(id).about(organization, resource_server)
    }

    /// A resource server: nobody else knows it by its id.
    #[must_use]
    pub fn resource_server(id: ResourceServerId) -> Self {
        Subject::ResourceServer(id).about(None, Some(id))
    }
}

/// A resource server that follows the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    pub resource_server: ResourceServerId,
    /// The one organization whose credentials it accepts; none where there may be others'.
    pub only_of: Option<OrganizationId>,
}

impl Reader {
    /// Whether an entry concerns it. `store::list_for` says the same in SQL.
    pub(super) fn sees(&self, audience: Audience) -> bool {
        audience.resource_server.is_none_or(|id| id == self.resource_server)
            && match (audience.organization, self.only_of) {
                (Some(organization), Some(own)) => organization == own,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entity::{GrantId, Timestamp};

    #[test]
    fn an_entry_is_seen_by_those_whom_it_concerns() {
        let now = Timestamp(1_700_000_000_000);
        let (ours, theirs) = (OrganizationId::new(now), OrganizationId::new(now));
        let (own, other) = (ResourceServerId::new(now), ResourceServerId::new(now));
        let private = Reader { resource_server: own, only_of: Some(ours) };
        let shared = Reader { resource_server: own, only_of: None };
        let subject = Subject::Grant(GrantId::new(now));
        for (about, is_private, is_shared) in [
            (subject.for_everybody(), true, true),
            (subject.of(ours), true, true),
            (subject.of(theirs), false, true),
            (subject.at(ours, own), true, true),
            (subject.at(ours, other), false, false),
            (subject.at(theirs, own), false, true),
            (subject.at(theirs, other), false, false),
            (About::resource_server(own), true, true),
            (About::resource_server(other), false, false),
        ] {
            let seen = (private.sees(about.audience), shared.sees(about.audience));
            assert_eq!(seen, (is_private, is_shared), "{about:?}");
        }
    }
}
