//! Names for the ids in events: looked up for many events together.

use std::collections::{BTreeSet, HashMap};

use entity::{ApiKeyId, ClientId, OrganizationId, UserId};
use sea_orm::DbErr;

use super::super::Recorded;
use crate::app::App;
use crate::{api_keys, clients, identity, tenancy};

/// Whose names somebody may see, besides those of their organization's members, keys and the applications.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub organization: OrganizationId,
    /// Whether they may see every account of the installation.
    pub sees_accounts: bool,
}

/// Somebody or something that an id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Of which kind, where the name does not say so: "API key".
    pub kind: &'static str,
    pub name: String,
    /// The address of a person, where it is to be seen.
    pub email: Option<String>,
}

/// What the ids in some events stand for.
#[derive(Default)]
pub(super) struct Names(HashMap<String, Named>);

impl Names {
    /// Looks up all of them: people, keys and applications with one query each.
    pub async fn of(app: &App, sight: Sight, events: &[Recorded]) -> Result<Self, DbErr> {
        let texts = || events.iter().flat_map(|it| it.target.iter().chain([&it.actor]));
        let people: BTreeSet<UserId> = texts().filter_map(|text| text.parse().ok()).collect();
        let keys: BTreeSet<ApiKeyId> = texts().filter_map(|text| text.parse().ok()).collect();
        let apps: BTreeSet<ClientId> = texts().filter_map(|text| text.parse().ok()).collect();
        let people: Vec<UserId> = people.into_iter().collect();
        let (reader, organization) = (app.db.reader(), sight.organization);
        // Whoever has left, or acts for the installation, is told by the name alone.
        let members = tenancy::members_among(reader, organization, people.clone()).await?;
        let mut named = HashMap::new();
        for user in identity::find_users(reader, people).await?.into_values() {
            let is_seen = sight.sees_accounts || members.contains(&user.id);
            let email = Some(user.email).filter(|_| is_seen);
            named.insert(user.id.to_string(), Named { kind: "", name: user.name, email });
        }
        let keys = keys.into_iter().collect();
        for (id, name) in api_keys::names_of(reader, organization, keys).await? {
            named.insert(id.to_string(), Named { kind: "API key", name, email: None });
        }
        for (id, name) in clients::names_of(reader, apps.into_iter().collect()).await? {
            named.insert(id.to_string(), Named { kind: "Application", name, email: None });
        }
        Ok(Self(named))
    }

    /// What an id stands for; none where nothing of that name is to be seen.
    pub fn find(&self, id: &str) -> Option<Named> {
        let words = match id {
            "operator" => "The command line",
            "system" => "The server itself",
            "anonymous" => "Somebody unknown",
            id => return self.0.get(id).cloned(),
        };
        Some(Named { kind: "", name: words.to_owned(), email: None })
    }
}
