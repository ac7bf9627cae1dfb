use bytes::Bytes;
use entity::{OrganizationId, ResourceServerId};
use portcullis_verifier::revocation::Entry;

use super::Logged;
use super::about::Audience;

/// An entry on its way to the feeds: written out once, for all of them.
#[derive(Debug)]
pub(super) struct Live {
    pub seq: i64,
    pub audience: Audience,
    /// Whose feeds look at themselves anew.
    pub about: Option<Whose>,
    pub event: Bytes,
}

/// Whose right to a feed an entry may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    ResourceServer(ResourceServerId),
    Organization(OrganizationId),
}

impl Live {
    pub(super) fn new(logged: &Logged) -> Self {
        let subject = &logged.entry.subject;
        let resource_server = subject.parse().map(Whose::ResourceServer);
        let whose = resource_server.or_else(|_| subject.parse().map(Whose::Organization));
        Self {
            seq: logged.entry.seq,
            audience: logged.audience,
            about: whose.ok(),
            event: event(&logged.entry).into(),
        }
    }
}

/// The entry as a server-sent event.
pub(super) fn event(entry: &Entry) -> String {
    // Numbers and texts always have a JSON form.
    let data = serde_json::to_string(entry).unwrap_or_default();
    format!("event: entry\nid: {}\ndata: {data}\n\n", entry.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use entity::Timestamp;
    use portcullis_verifier::revocation::EntryKind;

    fn live(subject: String) -> Live {
        let entry =
            Entry { seq: 7, kind: EntryKind::Revoked, subject, expires_at: 9, issued_before: None };
        let audience = Audience { organization: None, resource_server: None };
        Live::new(&Logged { entry, audience })
    }

    #[test]
    fn an_entry_is_written_as_the_readers_know_it() {
        let written = live("tok_1".to_owned());
        let expected = "event: entry\nid: 7\n\
            data: {\"seq\":7,\"kind\":\"revoked\",\"subject\":\"tok_1\",\"expires_at\":9}\n\n";
        assert_eq!(written.event, expected);
        assert_eq!(written.about, None);
    }

    #[test]
    fn a_feed_is_told_that_it_is_meant() {
        let now = Timestamp(1_700_000_000_000);
        let (api, organization) = (ResourceServerId::new(now), OrganizationId::new(now));
        assert_eq!(live(api.to_string()).about, Some(Whose::ResourceServer(api)));
        let about = live(organization.to_string()).about;
        assert_eq!(about, Some(Whose::Organization(organization)));
    }
}
