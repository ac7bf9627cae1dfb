//! What surrounds a page of the console: the organization that it is about, the others, and where else one can go.

use super::{Person, Visitor};
use crate::access::{
    Anybody, Caller, Permission, ReadApiKeys, ReadAuditEvents, ReadClients, ReadMembers,
    ReadOrganizations, ReadProjects, ReadResourceServers, ReadRoles, ReadSigningKeys,
};
use crate::tenancy::Membership;

/// A part of the console: a line of its navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// No line of the navigation: where one comes in.
    Home,
    ApiKeys,
    Applications,
    Projects,
    Members,
    Roles,
    ResourceServers,
    AuditLog,
    Organization,
    SigningKeys,
    Account,
    ConnectedApps,
}

impl Section {
    const ACCESS: [Self; 3] = [Self::ApiKeys, Self::Applications, Self::ResourceServers];
    const PEOPLE: [Self; 3] = [Self::Members, Self::Roles, Self::Projects];
    const REST: [Self; 3] = [Self::AuditLog, Self::Organization, Self::SigningKeys];
    const PERSONAL: [Self; 2] = [Self::Account, Self::ConnectedApps];

    fn label(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::ApiKeys => "API keys",
            Self::Applications => "Applications",
            Self::Projects => "Projects",
            Self::Members => "Members",
            Self::Roles => "Roles",
            Self::ResourceServers => "Resource servers",
            Self::AuditLog => "Audit log",
            Self::Organization => "Organization",
            Self::SigningKeys => "Signing keys",
            Self::Account => "My account",
            Self::ConnectedApps => "Connected apps",
        }
    }

    /// The last part of its address.
    fn path(self) -> &'static str {
        match self {
            Self::Home => "",
            Self::ApiKeys => "api-keys",
            Self::Applications => "applications",
            Self::Projects => "projects",
            Self::Members => "members",
            Self::Roles => "roles",
            Self::ResourceServers => "resource-servers",
            Self::AuditLog => "audit-log",
            Self::Organization => "settings",
            Self::SigningKeys => "signing-keys",
            Self::Account => "account",
            Self::ConnectedApps => "connected-apps",
        }
    }

    fn is_open_to<P: Permission>(self, caller: &Caller<P>, is_operator: bool) -> bool {
        match self {
            Self::ApiKeys => caller.may::<ReadApiKeys>(),
            Self::Applications => caller.may::<ReadClients>(),
            Self::Projects => caller.may::<ReadProjects>(),
            Self::Members => caller.may::<ReadMembers>(),
            Self::Roles => caller.may::<ReadRoles>(),
            Self::ResourceServers => caller.may::<ReadResourceServers>(),
            Self::AuditLog => caller.may::<ReadAuditEvents>(),
            Self::Organization => caller.may::<ReadOrganizations>(),
            Self::SigningKeys => is_operator && caller.may::<ReadSigningKeys>(),
            Self::Home | Self::Account | Self::ConnectedApps => caller.may::<Anybody>(),
        }
    }
}

/// Lines of the navigation that belong together.
pub struct Group {
    pub title: &'static str,
    pub links: Vec<Link>,
}

/// A line of the navigation.
pub struct Link {
    pub label: String,
    pub href: String,
    pub is_current: bool,
}

/// What the layout of every page of the console is filled in with.
pub struct Frame {
    /// The path of the issuer, without a slash at its end.
    pub base: String,
    pub email: String,
    /// The organization that the page is about; none where it is about the person.
    pub organization: Option<Membership>,
    /// The person's other organizations.
    pub others: Vec<Membership>,
    /// What the navigation is called.
    pub label: &'static str,
    pub groups: Vec<Group>,
}

impl<P: Permission> Visitor<P> {
    /// The frame of a page about the organization.
    #[must_use]
    pub fn frame(&self, current: Section) -> Frame {
        let (here, person) = (&self.membership, &self.person);
        let place = self.path("");
        let group = |title, sections: &[Section]| {
            let is_open = |section: &&Section| section.is_open_to(&self.caller, self.is_operator);
            let link = |section: &Section| Link {
                label: section.label().to_owned(),
                href: format!("{place}/{}", section.path()),
                is_current: *section == current,
            };
            Group { title, links: sections.iter().filter(is_open).map(link).collect() }
        };
        let groups = [
            group("Access", &Section::ACCESS),
            group("People", &Section::PEOPLE),
            group("Organization", &Section::REST),
        ];
        let is_other = |it: &&Membership| it.organization != here.organization;
        Frame {
            base: person.base.clone(),
            email: person.session.email.clone(),
            organization: Some(here.clone()),
            others: person.memberships.iter().filter(is_other).cloned().collect(),
            label: "Organization",
            groups: groups.into_iter().filter(|group| !group.links.is_empty()).collect(),
        }
    }
}

impl Person {
    /// The frame of a page about the person.
    #[must_use]
    pub fn frame(&self, current: Section) -> Frame {
        let link = |section: &Section| Link {
            label: section.label().to_owned(),
            href: format!("{}/{}", self.base, section.path()),
            is_current: *section == current,
        };
        let own = Group { title: "You", links: Section::PERSONAL.iter().map(link).collect() };
        let place = |membership: &Membership| Link {
            label: membership.organization_name.clone(),
            href: format!("{}/o/{}", self.base, membership.organization),
            is_current: false,
        };
        let organizations =
            Group { title: "Organizations", links: self.memberships.iter().map(place).collect() };
        Frame {
            base: self.base.clone(),
            email: self.session.email.clone(),
            organization: None,
            others: Vec::new(),
            label: "Account",
            groups: match self.memberships.is_empty() {
                true => vec![own],
                false => vec![own, organizations],
            },
        }
    }
}
