//! The scopes of all APIs that the organization may use: to pick from, and in words.

use std::collections::BTreeSet;

use portcullis_verifier::{Scope, ScopeSet};

use crate::resource_servers::ResourceServer;

/// Those that are about no API in particular: each reaches into every one.
const EVERYWHERE: [(&str, &str); 3] = [
    ("read", "See everything, at every API"),
    ("write", "See and change everything, but for what needs an admin"),
    ("admin", "Do everything"),
];

/// A scope to tick.
pub(super) struct Offered {
    pub scope: String,
    pub sentence: String,
    pub is_ticked: bool,
}

/// What one API offers, apart by how much it takes to have it.
pub(super) struct Group {
    pub title: String,
    pub plain: Vec<Offered>,
    /// What needs an admin, or reaches everywhere.
    pub powerful: Vec<Offered>,
}

/// What is offered, and what of a role is not among it.
pub(super) struct Offer {
    pub groups: Vec<Group>,
    /// Scopes with filters, wildcards, those of APIs that are gone.
    pub further: Vec<String>,
}

/// What somebody who reaches this far may pick. What is ticked already is shown in any case: they may leave it out. A
/// scope that several APIs know stands with the first of them.
pub(super) fn offer(apis: &[ResourceServer], reach: &ScopeSet, ticked: &BTreeSet<String>) -> Offer {
    let is_pickable = |scope: &Scope| reach.covers(scope) || ticked.contains(scope.as_str());
    let offered = |scope: &str, sentence: String| {
        let is_ticked = ticked.contains(scope);
        Offered { scope: scope.to_owned(), sentence, is_ticked }
    };
    let mut seen: BTreeSet<&str> = EVERYWHERE.iter().map(|(scope, _)| *scope).collect();
    let mut groups = Vec::new();
    // The organization's own APIs stand before ours.
    let (ours, others): (Vec<_>, Vec<_>) = apis.iter().partition(|api| api.is_management);
    for api in others.into_iter().chain(ours) {
        let mut group = Group { title: api.name.clone(), plain: Vec::new(), powerful: Vec::new() };
        for entry in &api.catalog.0 {
            if !is_pickable(&entry.scope) || !seen.insert(entry.scope.as_str()) {
                continue;
            }
            let it = offered(entry.scope.as_str(), sentence(apis, &entry.scope));
            match is_powerful(apis, &entry.scope) {
                true => group.powerful.push(it),
                false => group.plain.push(it),
            }
        }
        groups.push(group);
    }
    let everywhere = EVERYWHERE
        .iter()
        .filter(|(scope, _)| scope.parse().is_ok_and(|scope: Scope| is_pickable(&scope)));
    groups.push(Group {
        title: "Everywhere".to_owned(),
        plain: Vec::new(),
        powerful: everywhere.map(|(scope, words)| offered(scope, (*words).to_owned())).collect(),
    });
    groups.retain(|group| !group.plain.is_empty() || !group.powerful.is_empty());
    let further = ticked.iter().filter(|scope| !seen.contains(scope.as_str())).cloned().collect();
    Offer { groups, further }
}

/// A scope, and what it allows.
pub(super) struct Described {
    pub scope: String,
    pub sentence: String,
    pub is_powerful: bool,
}

/// What these scopes allow.
pub(super) fn described(apis: &[ResourceServer], scopes: &ScopeSet) -> Vec<Described> {
    let described = |scope: &Scope| Described {
        scope: scope.to_string(),
        sentence: sentence(apis, scope),
        is_powerful: is_powerful(apis, scope),
    };
    scopes.iter().map(described).collect()
}

/// What those APIs say of the scope that know it, each under its name where there are several; else what its words say.
fn sentence(apis: &[ResourceServer], scope: &Scope) -> String {
    if let Some((_, sentence)) = EVERYWHERE.iter().find(|(it, _)| *it == scope.as_str()) {
        return (*sentence).to_owned();
    }
    let unfiltered = scope.without_filter();
    let knows = |api: &&ResourceServer| api.catalog.0.iter().any(|it| it.scope == unfiltered);
    let knowing: Vec<&ResourceServer> = apis.iter().filter(knows).collect();
    match knowing.as_slice() {
        [] => apis.first().map(|api| api.catalog.sentence(scope)).unwrap_or_default(),
        [only] => only.catalog.sentence(scope),
        several => {
            let said =
                several.iter().map(|api| format!("{}: {}", api.name, api.catalog.sentence(scope)));
            said.collect::<Vec<_>>().join(" · ")
        }
    }
}

/// Whether any of these APIs says so.
fn is_powerful(apis: &[ResourceServer], scope: &Scope) -> bool {
    apis.iter().any(|api| api.catalog.is_powerful(scope))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use entity::{ResourceServerId, Timestamp};

    use super::*;
    use crate::resource_servers::{Catalog, CatalogScope};
    use crate::signing::Algorithm;

    fn api(name: &str, is_management: bool, scopes: &[(&str, bool)]) -> ResourceServer {
        let entry = |(scope, needs_admin): &(&str, bool)| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: format!("Do {scope}"),
            needs_admin: *needs_admin,
        };
        ResourceServer {
            id: ResourceServerId::new(Timestamp(0)),
            organization: None,
            audience: String::new(),
            name: name.to_owned(),
            algorithm: Algorithm::Es256,
            access_token_lifetime: Some(Duration::ZERO),
            catalog: Catalog(scopes.iter().map(entry).collect()),
            is_management,
            is_shared: true,
            unshared_at: None,
            status_list: false,
            older_credential_expires_at: None,
            created_at: Timestamp(0),
            version: 1,
        }
    }

    #[test]
    fn each_scope_is_offered_once_within_reach_and_the_powerful_apart() {
        let apis = [
            api("Portcullis", true, &[("read:users", true), ("read:members", false)]),
            api("Own", false, &[("read:users", false), ("write:users", false), ("admin", false)]),
        ];
        let ticked = BTreeSet::from(["read:users".to_owned(), "read:tenants/acme".to_owned()]);
        let Offer { groups, further } = offer(&apis, &"read".parse().unwrap(), &ticked);
        let names =
            |some: &[Offered]| -> Vec<String> { some.iter().map(|it| it.scope.clone()).collect() };
        let shown: Vec<(&str, Vec<String>, Vec<String>)> = groups
            .iter()
            .map(|group| (group.title.as_str(), names(&group.plain), names(&group.powerful)))
            .collect();
        let texts = |some: &[&str]| some.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("Own", texts(&[]), texts(&["read:users"])),
                ("Portcullis", texts(&["read:members"]), texts(&[])),
                ("Everywhere", texts(&[]), texts(&["read"])),
            ]
        );
        assert_eq!(
            groups[0].powerful[0].sentence,
            "Portcullis: Do read:users · Own: Do read:users"
        );
        assert!(groups[0].powerful[0].is_ticked);
        assert_eq!(further, ["read:tenants/acme"]);
    }
}
