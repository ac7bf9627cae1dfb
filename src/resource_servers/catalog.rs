use portcullis_verifier::{Scope, ScopeSet};

/// A scope that a resource server offers, with the sentence that the consent page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogScope {
    pub scope: Scope,
    pub sentence: String,
    /// Whether only somebody who administers the resource may grant it; else whoever may do it themselves.
    pub needs_admin: bool,
}

/// What a resource server offers, in the order in which people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog(pub Vec<CatalogScope>);

impl Catalog {
    /// Whether somebody may ask for this scope here: it is in the catalog, or in it but for a filter, or it is a
    /// wildcard that reaches something in the catalog.
    #[must_use]
    pub fn offers(&self, scope: &Scope) -> bool {
        let unfiltered = scope.without_filter();
        self.0.iter().any(|entry| {
            entry.scope == unfiltered || (scope.is_wildcard() && unfiltered.covers(&entry.scope))
        })
    }

    /// What of these scopes means anything here.
    #[must_use]
    pub fn relevant(&self, scopes: &ScopeSet) -> ScopeSet {
        scopes.iter().filter(|scope| self.offers(scope)).cloned().collect()
    }

    /// What somebody with this reach may grant of these scopes: what they may do themselves, less what needs an
    /// admin where they are none. A wildcard that would take such a scope along is spelled out without it.
    #[must_use]
    pub fn within(&self, scopes: &ScopeSet, reach: &ScopeSet) -> ScopeSet {
        let guarded: Vec<Scope> = self
            .0
            .iter()
            .filter(|entry| entry.needs_admin && !reach.covers(&administration_of(&entry.scope)))
            .map(|entry| entry.scope.clone())
            .collect();
        let is_guarded = |scope: &Scope| {
            let unfiltered = scope.without_filter();
            guarded.iter().any(|entry| unfiltered.covers(entry))
        };
        let mut left = ScopeSet::default();
        for scope in scopes.intersection(reach).iter() {
            if !is_guarded(scope) {
                left.insert(scope.clone());
            } else if scope.is_wildcard() {
                let spelled_out = self.0.iter().map(|entry| &entry.scope);
                let spelled_out =
                    spelled_out.filter(|entry| scope.covers(entry) && !is_guarded(entry));
                spelled_out.for_each(|entry| left.insert(entry.clone()));
            }
        }
        left
    }

    /// Whether a scope reaches so far that people should think twice: it administers, is a wildcard, or takes along
    /// what only an admin may grant.
    #[must_use]
    pub fn is_powerful(&self, scope: &Scope) -> bool {
        let unfiltered = scope.without_filter();
        let needs_admin =
            |entry: &CatalogScope| entry.needs_admin && unfiltered.covers(&entry.scope);
        scope.action() == "admin" || scope.is_wildcard() || self.0.iter().any(needs_admin)
    }

    /// What to tell a person that this scope allows.
    #[must_use]
    pub fn sentence(&self, scope: &Scope) -> String {
        let unfiltered = scope.without_filter();
        let sentence = self
            .0
            .iter()
            .find(|entry| entry.scope == unfiltered)
            .map(|entry| entry.sentence.clone());
        let sentence = sentence.unwrap_or_else(|| match (scope.action(), scope.resource()) {
            ("*" | "admin", None) => "Do everything that you may do".to_owned(),
            ("*" | "admin", Some(resource)) => format!("Do everything with {resource}"),
            (action, None) => format!("{} everything", capitalized(action)),
            (action, Some(resource)) => format!("{} {resource}", capitalized(action)),
        });
        match scope.filter() {
            Some(filter) => format!("{sentence} (only {filter})"),
            None => sentence,
        }
    }
}

/// The scope that makes somebody an admin of what this scope is about.
fn administration_of(scope: &Scope) -> Scope {
    let text = match scope.resource() {
        Some(resource) if resource != "*" => format!("admin:{resource}"),
        _ => "admin".to_owned(),
    };
    // The resource is one that was parsed before.
    text.parse().unwrap_or_else(|_| scope.clone())
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let entry = |scope: &str, sentence: &str| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: sentence.to_owned(),
            needs_admin: scope == "write:members",
        };
        Catalog(vec![
            entry("read:tenants", "See your tenants"),
            entry("admin", "Administer everything"),
        ])
    }

    #[test]
    fn it_offers_its_entries_narrower_ones_and_wildcards_that_reach_them() {
        let offers = |scope: &str| catalog().offers(&scope.parse().unwrap());
        assert!(
            offers("read:tenants")
                && offers("read:tenants/acme")
                && offers("read")
                && offers("*:tenants")
        );
        assert!(offers("admin"));
        // `admin` in the catalog does not make every other scope known.
        assert!(!offers("write:tenants") && !offers("read:users") && !offers("create:invoices"));
        assert!(!offers("*:users"));
    }

    #[test]
    fn what_needs_an_admin_only_an_admin_may_grant() {
        let entry = |scope: &str, needs_admin| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: "x".to_owned(),
            needs_admin,
        };
        let catalog = Catalog(vec![
            entry("read:members", false),
            entry("write:members", true),
            entry("write:keys", false),
            entry("export:members", true),
            entry("admin", false),
        ]);
        let within = |scopes: &str, reach: &str| {
            catalog.within(&scopes.parse().unwrap(), &reach.parse().unwrap()).to_string()
        };
        assert_eq!(within("write:members", "admin"), "write:members");
        assert_eq!(within("write:members", "admin:members"), "write:members");
        assert_eq!(within("write:members", "write"), "");
        assert_eq!(within("write:members/acme", "write"), "");
        assert_eq!(within("read:members", "write"), "read:members");
        // A wildcard keeps what it may.
        assert_eq!(within("write", "write"), "read:members write:keys");
        assert_eq!(within("*:members", "write"), "");
        assert_eq!(within("*:members", "admin *"), "*:members");
        assert_eq!(within("admin", "admin"), "admin");
        assert_eq!(within("read", "read"), "read");
        // And nobody grants what they may not do themselves.
        assert_eq!(within("write:keys", "read"), "read:keys");
    }

    #[test]
    fn what_reaches_far_is_powerful() {
        let entry = |scope: &str, needs_admin| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: "x".to_owned(),
            needs_admin,
        };
        let catalog = Catalog(vec![
            entry("read:members", false),
            entry("export:members", true),
            entry("write:keys", false),
        ]);
        let is_powerful = |scope: &str| catalog.is_powerful(&scope.parse().unwrap());
        for scope in
            ["admin", "admin:keys/eu", "*", "*:keys", "write", "read", "export:members", "export"]
        {
            assert!(is_powerful(scope), "{scope}");
        }
        for scope in ["read:members", "read:members/*", "write:keys", "write:members"] {
            assert!(!is_powerful(scope), "{scope}");
        }
    }

    #[test]
    fn each_scope_has_a_sentence() {
        let sentence = |scope: &str| catalog().sentence(&scope.parse().unwrap());
        assert_eq!(sentence("read:tenants"), "See your tenants");
        assert_eq!(sentence("read:tenants/acme"), "See your tenants (only acme)");
        assert_eq!(sentence("read"), "Read everything");
        assert_eq!(sentence("*:tenants"), "Do everything with tenants");
    }
}
