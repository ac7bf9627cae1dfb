//! What a key may be made for.

use std::collections::HashMap;

use portcullis_verifier::{Scope, ScopeSet};

use crate::platform::FieldError;
use crate::resource_servers::ResourceServer;

const MOST_SCOPES: usize = 100;

/// Judges scopes that somebody wants on a key: each must be one that some resource server offers, and within what
/// whoever asks may do. A text is judged once, however many keys bear it.
pub(super) struct ScopeCheck<'a> {
    offered: &'a [ResourceServer],
    reach: &'a ScopeSet,
    /// What the key has already: nobody needs to be able to do it in order to leave it there.
    had: Option<&'a ScopeSet>,
    judged: HashMap<String, Result<Scope, String>>,
}

impl<'a> ScopeCheck<'a> {
    pub fn new(offered: &'a [ResourceServer], reach: &'a ScopeSet) -> Self {
        Self { offered, reach, had: None, judged: HashMap::new() }
    }

    pub fn of_an_edit(
        offered: &'a [ResourceServer],
        reach: &'a ScopeSet,
        had: &'a ScopeSet,
    ) -> Self {
        Self { had: Some(had), ..Self::new(offered, reach) }
    }

    pub fn check(&mut self, texts: &[String], errors: &mut Vec<FieldError>) -> ScopeSet {
        if texts.is_empty() || texts.len() > MOST_SCOPES {
            errors.push(FieldError::new("scopes", "must hold 1 to 100 scopes"));
            return ScopeSet::default();
        }
        let mut scopes = ScopeSet::default();
        for (at, text) in texts.iter().enumerate() {
            match self.judge(text) {
                Ok(scope) => scopes.insert(scope),
                Err(why) => errors.push(FieldError::new(format!("scopes[{at}]"), why)),
            }
        }
        scopes
    }

    fn judge(&mut self, text: &str) -> Result<Scope, String> {
        if let Some(known) = self.judged.get(text) {
            return known.clone();
        }
        let judgement = self.judge_anew(text);
        self.judged.insert(text.to_owned(), judgement.clone());
        judgement
    }

    fn judge_anew(&self, text: &str) -> Result<Scope, String> {
        let not_a_scope = |_| "is not a scope; one looks like read:tenants".to_owned();
        let scope: Scope = text.parse().map_err(not_a_scope)?;
        // What nobody offers any more may stay on a key that has it.
        let stays = self.had.is_some_and(|had| had.iter().any(|had| *had == scope));
        if !stays && !self.offered.iter().any(|api| api.catalog.offers(&scope)) {
            return Err(format!("no resource server offers the scope `{scope}`"));
        }
        if self.had.is_some_and(|had| had.covers(&scope)) {
            return Ok(scope);
        }
        if !self.reach.covers(&scope) {
            return Err(format!("`{scope}` is more than you may do yourself"));
        }
        if self.needs_admin(&scope) {
            return Err(format!("`{scope}` needs an admin"));
        }
        Ok(scope)
    }

    /// Whether every API that offers the scope leaves it to admins.
    fn needs_admin(&self, scope: &Scope) -> bool {
        let wanted = ScopeSet::from_iter([scope.clone()]);
        let mut offering = self.offered.iter().filter(|api| api.catalog.offers(scope));
        offering.all(|api| api.catalog.within(&wanted, self.reach).is_empty())
    }
}
