//! The permission table: what each kind of endpoint asks of its caller.

use crate::resource_servers::scopes;

/// How much of the installation an endpoint concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It can be confined to a project; what else there is, such a caller does not see.
    Project,
    /// The whole of the caller's organization.
    Organization,
    /// Every organization: only for the one that runs the installation.
    Installation,
}

/// A row of the table.
pub trait Permission: Send + Sync + 'static {
    /// The scope that the caller's credential must cover; none: any will do.
    const SCOPE: Option<&'static str>;
    const REACH: Reach;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $scope:expr, $reach:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Permission for $name {
            const SCOPE: Option<&'static str> = $scope;
            const REACH: Reach = Reach::$reach;
        }
    )*};
}

permissions! {
    /// Be somebody.
    Anybody = None, Project;
    ReadOrganizations = Some(scopes::READ_ORGANIZATIONS), Organization;
    WriteOrganizations = Some(scopes::WRITE_ORGANIZATIONS), Organization;
    /// Make and close organizations.
    FoundOrganizations = Some(scopes::WRITE_ORGANIZATIONS), Installation;
    ReadProjects = Some(scopes::READ_PROJECTS), Project;
    WriteProjects = Some(scopes::WRITE_PROJECTS), Organization;
    ReadMembers = Some(scopes::READ_MEMBERS), Organization;
    WriteMembers = Some(scopes::WRITE_MEMBERS), Organization;
    /// Leave the organization, as everybody may.
    Leave = None, Organization;
    ReadRoles = Some(scopes::READ_ROLES), Organization;
    WriteRoles = Some(scopes::WRITE_ROLES), Organization;
    ReadUsers = Some(scopes::READ_USERS), Installation;
    WriteUsers = Some(scopes::WRITE_USERS), Installation;
    ReadResourceServers = Some(scopes::READ_RESOURCE_SERVERS), Project;
    WriteResourceServers = Some(scopes::WRITE_RESOURCE_SERVERS), Organization;
    ReadClients = Some(scopes::READ_CLIENTS), Organization;
    WriteClients = Some(scopes::WRITE_CLIENTS), Organization;
    ReadGrants = Some(scopes::READ_GRANTS), Organization;
    WriteGrants = Some(scopes::WRITE_GRANTS), Organization;
    ReadApiKeys = Some(scopes::READ_API_KEYS), Project;
    WriteApiKeys = Some(scopes::WRITE_API_KEYS), Project;
    /// Ask what API keys are good for.
    VerifyApiKeys = Some(scopes::VERIFY_API_KEYS), Project;
    /// Hand API keys over.
    AdminApiKeys = Some(scopes::ADMIN_API_KEYS), Project;
    ImportApiKeys = Some(scopes::ADMIN_API_KEYS), Organization;
    /// Know of decoys, make and end them.
    AdminDecoys = Some(scopes::ADMIN_DECOYS), Project;
    ReadSigningKeys = Some(scopes::READ_SIGNING_KEYS), Installation;
    WriteSigningKeys = Some(scopes::WRITE_SIGNING_KEYS), Installation;
    ReadAuditEvents = Some(scopes::READ_AUDIT_EVENTS), Organization;
    ReadConnectedApps = Some(scopes::READ_CONNECTED_APPS), Organization;
    WriteConnectedApps = Some(scopes::WRITE_CONNECTED_APPS), Organization;
}
