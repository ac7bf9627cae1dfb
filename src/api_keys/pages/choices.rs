//! The scopes that somebody can put on a key, as the form offers them.

use portcullis_verifier::{Scope, ScopeSet};

use crate::resource_servers::ResourceServer;

/// What one API offers.
pub(super) struct Group {
    pub name: String,
    pub audience: String,
    pub is_open: bool,
    pub ordinary: Vec<ScopeChoice>,
    /// Those that administer something, or that only an admin can give.
    pub powerful: Vec<ScopeChoice>,
}

pub(super) struct ScopeChoice {
    pub scope: String,
    pub sentence: String,
    /// Other APIs at which it counts too.
    pub elsewhere: Vec<String>,
    pub is_ticked: bool,
}

/// What to tick: what the APIs offer and the visitor may give, and what is ticked already. A scope that several APIs
/// offer stands with the first of them, for it can't be given at one alone.
pub(super) fn groups(apis: &[ResourceServer], reach: &ScopeSet, ticked: &[String]) -> Vec<Group> {
    // What the organization's own programs do comes before what administers it.
    let mut ordered: Vec<&ResourceServer> = apis.iter().collect();
    ordered.sort_by_key(|api| api.is_management);
    let mut shown: Vec<&Scope> = Vec::new();
    let mut groups = Vec::new();
    for api in &ordered {
        let mut group = Group {
            name: api.name.clone(),
            audience: api.audience.clone(),
            is_open: !api.is_management,
            ordinary: Vec::new(),
            powerful: Vec::new(),
        };
        for entry in &api.catalog.0 {
            let is_ticked = ticked.iter().any(|text| text == entry.scope.as_str());
            if shown.contains(&&entry.scope) || !(is_ticked || may_give(apis, reach, &entry.scope))
            {
                continue;
            }
            shown.push(&entry.scope);
            group.is_open |= is_ticked;
            let elsewhere =
                ordered.iter().filter(|other| other.id != api.id && lists(other, &entry.scope));
            let choice = ScopeChoice {
                scope: entry.scope.to_string(),
                sentence: entry.sentence.clone(),
                elsewhere: elsewhere.map(|other| other.name.clone()).collect(),
                is_ticked,
            };
            match is_powerful(apis, &entry.scope) {
                true => group.powerful.push(choice),
                false => group.ordinary.push(choice),
            }
        }
        if !group.ordinary.is_empty() || !group.powerful.is_empty() {
            groups.push(group);
        }
    }
    groups
}

fn lists(api: &ResourceServer, scope: &Scope) -> bool {
    api.catalog.0.iter().any(|entry| entry.scope == *scope)
}

/// Whether any API has the scope to tick.
pub(super) fn is_listed(apis: &[ResourceServer], scope: &Scope) -> bool {
    apis.iter().any(|api| lists(api, scope))
}

/// As the verb judges it, so that nothing is offered which is then refused.
fn may_give(apis: &[ResourceServer], reach: &ScopeSet, scope: &Scope) -> bool {
    let wanted = ScopeSet::from_iter([scope.clone()]);
    let mut offering = apis.iter().filter(|api| api.catalog.offers(scope));
    reach.covers(scope) && offering.any(|api| !api.catalog.within(&wanted, reach).is_empty())
}

/// Whether it is powerful at any API at which it counts.
fn is_powerful(apis: &[ResourceServer], scope: &Scope) -> bool {
    apis.iter().any(|api| api.catalog.is_powerful(scope))
}

/// What a key may do, as people read it.
pub(super) struct Allowed {
    pub scope: String,
    /// None where no API offers it.
    pub sentence: Option<String>,
    pub is_powerful: bool,
}

pub(super) fn allowed(apis: &[ResourceServer], scopes: &ScopeSet) -> Vec<Allowed> {
    let allowed = |scope: &Scope| {
        // What an API of the organization's own says of it comes before what ours does.
        let offering = apis.iter().filter(|api| api.catalog.offers(scope));
        let api = offering.min_by_key(|api| api.is_management);
        Allowed {
            scope: scope.to_string(),
            sentence: api.map(|api| api.catalog.sentence(scope)),
            is_powerful: is_powerful(apis, scope),
        }
    };
    scopes.iter().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use entity::{ResourceServerId, Timestamp};

    use super::*;
    use crate::resource_servers::{Catalog, CatalogScope};
    use crate::signing::Algorithm;

    fn api(name: &str, is_management: bool, scopes: &[(&str, bool)]) -> ResourceServer {
        let entry = |(scope, needs_admin): &(&str, bool)| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: "Do it".to_owned(),
            needs_admin: *needs_admin,
        };
        ResourceServer {
            id: ResourceServerId::new(Timestamp(1)),
            organization: None,
            audience: format!("https://{name}.example"),
            name: name.to_owned(),
            algorithm: Algorithm::Es256,
            access_token_lifetime: None,
            catalog: Catalog(scopes.iter().map(entry).collect()),
            is_management,
            is_shared: true,
            unshared_at: None,
            status_list: false,
            older_credential_expires_at: None,
            created_at: Timestamp(1),
            version: 1,
        }
    }

    #[test]
    fn only_what_can_be_given_is_offered_and_each_scope_once() {
        let apis = [
            api("us", true, &[("read:keys", false), ("write:members", true), ("admin", false)]),
            api("a", false, &[("read:x", false), ("delete:x", false)]),
            api("b", false, &[("read:x", false), ("read:y", false)]),
        ];
        let shown = |reach: &str, ticked: &[&str]| {
            let ticked: Vec<String> = ticked.iter().map(|it| (*it).to_owned()).collect();
            let groups = groups(&apis, &reach.parse().unwrap(), &ticked);
            let scopes = |of: &[ScopeChoice]| {
                of.iter().map(|it| it.scope.clone()).collect::<Vec<_>>().join(" ")
            };
            let line = |it: &Group| {
                format!("{}: {} | {}", it.name, scopes(&it.ordinary), scopes(&it.powerful))
            };
            groups.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(shown("write", &[]), ["a: read:x | ", "b: read:y | ", "us: read:keys | "]);
        assert_eq!(
            shown("admin", &[]),
            ["a: read:x delete:x | ", "b: read:y | ", "us: read:keys | write:members admin"]
        );
        // What a key has already stays on the page.
        assert_eq!(shown("read:y", &["delete:x"]), ["a: delete:x | ", "b: read:y | "]);
        let groups = groups(&apis, &"read".parse().unwrap(), &[]);
        assert_eq!(groups[0].ordinary[0].elsewhere, ["b"]);
    }
}
