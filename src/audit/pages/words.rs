//! What each action is called. `tests/it/pages_audit_log.rs` looks that none is missing.

/// Those that belong together, with what each is called.
pub(super) type Kind = (&'static str, &'static [(&'static str, &'static str)]);

/// Every action that the server records.
pub(super) const ACTIONS: &[Kind] = &[
    (
        "API keys",
        &[
            ("api_key.created", "API key created"),
            ("api_key.imported", "API key imported"),
            ("api_key.changed", "API key changed"),
            ("api_key.rotated", "API key rotated"),
            ("api_key.handed_over", "API key handed over"),
            ("api_key.narrowed", "API key narrowed after a leak"),
            ("api_key.revoked", "API key revoked"),
            ("api_key.refused", "API key refused"),
            ("api_key.expiring", "Owner told that an API key expires"),
            ("api_key.unused", "Owner told that an API key is unused"),
            ("api_key.new_network", "API key used from a new network"),
            ("api_key.leaked", "API key leaked"),
            ("api_key.decoy_used", "Decoy used"),
        ],
    ),
    (
        "Applications",
        &[
            ("client.registered", "Application registered"),
            ("client.changed", "Application changed"),
            ("client.secret_added", "Secret of an application added"),
            ("client.secret_removed", "Secret of an application removed"),
            ("client.disabled", "Application disabled"),
            ("client.enabled", "Application enabled"),
            ("client.revoked", "Application deleted"),
            ("client.secret_leaked", "Secret of an application leaked"),
            ("consent.given", "Application allowed"),
            ("consent.skipped", "Application allowed without asking"),
            ("consent.withdrawn", "Application no longer allowed"),
            ("grant.created", "Access of an application began"),
            ("grant.ended", "Access of an application ended"),
            ("grant.leaked", "Refresh token leaked"),
            ("access_token.revoked", "Access token revoked"),
            ("access_token.leaked", "Access token leaked"),
        ],
    ),
    (
        "People",
        &[
            ("member.added", "Member added"),
            ("member.role_changed", "Role of a member changed"),
            ("member.removed", "Member removed"),
            ("member.left", "Member left"),
            ("invitation.created", "Invited"),
            ("invitation.accepted", "Invitation accepted"),
            ("invitation.revoked", "Invitation revoked"),
            ("role.created", "Role created"),
            ("role.changed", "Role changed"),
            ("role.deleted", "Role deleted"),
        ],
    ),
    (
        "Organization",
        &[
            ("organization.created", "Organization created"),
            ("organization.renamed", "Organization renamed"),
            ("organization.changed", "Organization changed"),
            ("organization.closed", "Organization closed"),
            ("project.created", "Project created"),
            ("project.changed", "Project changed"),
            ("project.deleted", "Project deleted"),
            ("resource_server.created", "Resource server registered"),
            ("resource_server.changed", "Resource server changed"),
            ("resource_server.deleted", "Resource server deleted"),
            ("resource_server.credential_rotated", "Credential of a resource server rotated"),
            ("resource_server.credential_removed", "Credential of a resource server removed"),
            ("resource_server.credential_leaked", "Credential of a resource server leaked"),
        ],
    ),
    (
        "Accounts",
        &[
            ("user.created", "Account made"),
            ("user.logged_in", "Logged in"),
            ("user.login_failed", "Login failed"),
            ("user.login_throttled", "Too many logins"),
            ("user.logged_out", "Logged out"),
            ("user.password_confirmed", "Password entered again"),
            ("user.password_refused", "Wrong password entered"),
            ("user.password_changed", "Password changed"),
            ("user.session_ended", "Session ended"),
            ("user.other_sessions_ended", "Other sessions ended"),
            ("user.renamed", "Account renamed"),
            ("user.suspended", "Account suspended"),
            ("user.resumed", "Account resumed"),
            ("user.erased", "Account erased"),
        ],
    ),
    (
        "Installation",
        &[
            ("installation.set_up", "Installation set up"),
            ("signing_key.created", "Signing key made"),
            ("signing_key.rotated", "Signing key rotated"),
        ],
    ),
];

/// What an action is called; one of a later release by its code.
pub(super) fn words_of(action: &str) -> &str {
    let mut all = ACTIONS.iter().flat_map(|(_, actions)| actions.iter());
    all.find(|(code, _)| *code == action).map_or(action, |(_, words)| words)
}
