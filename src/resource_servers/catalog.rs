use portcullis_verifier::{Scope, ScopeSet};

/// A scope that a resource server offers, with the sentence that the consent page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogScope {
    pub scope: Scope,
    pub sentence: String,
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
    fn each_scope_has_a_sentence() {
        let sentence = |scope: &str| catalog().sentence(&scope.parse().unwrap());
        assert_eq!(sentence("read:tenants"), "See your tenants");
        assert_eq!(sentence("read:tenants/acme"), "See your tenants (only acme)");
        assert_eq!(sentence("read"), "Read everything");
        assert_eq!(sentence("*:tenants"), "Do everything with tenants");
    }
}
