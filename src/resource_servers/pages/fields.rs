//! The fields of the forms that make and change a resource server. Its catalog is written as people would write it
//! down: a line for each scope, `read:tenants = See your tenants`.

use portcullis_verifier::Scope;

use super::super::{Catalog, CatalogScope, ResourceServer};
use crate::http::Parameters;
use crate::platform::FieldError;
use crate::signing::Algorithm;

/// What ends the line of a scope that only an admin may grant.
pub(super) const NEEDS_ADMIN: &str = "[admin]";
/// The longest catalog that is changed in a form: one takes 64 KiB, and percent-encoding takes its part.
const LONGEST: usize = 16 * 1024;

/// What stands in the fields.
pub(super) struct Fields {
    pub audience: String,
    pub name: String,
    pub algorithm: String,
    pub access_token_seconds: String,
    pub scopes: String,
    /// Whether the catalog is too long for the form.
    pub is_too_long: bool,
    pub is_shared: bool,
    pub status_list: bool,
}

impl Fields {
    /// Of a resource server to be.
    pub fn new(is_operator: bool) -> Self {
        Self {
            audience: String::new(),
            name: String::new(),
            algorithm: Algorithm::Es256.to_string(),
            access_token_seconds: String::new(),
            scopes: String::new(),
            is_too_long: false,
            is_shared: is_operator,
            status_list: false,
        }
    }

    pub fn of(api: &ResourceServer) -> Self {
        let lifetime = api.access_token_lifetime.map(|lifetime| lifetime.as_secs().to_string());
        let scopes = lines(&api.catalog);
        let is_too_long = scopes.len() > LONGEST;
        Self {
            audience: api.audience.clone(),
            name: api.name.clone(),
            algorithm: api.algorithm.to_string(),
            access_token_seconds: lifetime.unwrap_or_default(),
            scopes: if is_too_long { String::new() } else { scopes },
            is_too_long,
            is_shared: api.is_shared,
            status_list: api.status_list,
        }
    }

    /// Of a form that was sent; without a field of scopes it was too long for one.
    pub fn sent(sent: &Parameters) -> Self {
        let text = |name: &str| sent.first(name).to_owned();
        Self {
            audience: text("audience"),
            name: text("name"),
            algorithm: text("algorithm"),
            access_token_seconds: text("access_token_seconds"),
            scopes: sent.text("scopes"),
            is_too_long: !has_scopes(sent),
            is_shared: !text("is_shared").is_empty(),
            status_list: !text("status_list").is_empty(),
        }
    }
}

fn has_scopes(sent: &Parameters) -> bool {
    sent.pairs().any(|(name, _)| name == "scopes")
}

fn lines(catalog: &Catalog) -> String {
    let line = |entry: &CatalogScope| {
        let end = if entry.needs_admin { format!(" {NEEDS_ADMIN}") } else { String::new() };
        format!("{} = {}{end}", entry.scope, entry.sentence)
    };
    catalog.0.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the fields say, for the verbs.
pub(super) struct Wanted {
    pub algorithm: Algorithm,
    /// None: as the setting says.
    pub access_token_seconds: Option<u64>,
    /// None where the form had no field for it.
    pub catalog: Option<Catalog>,
    pub is_shared: bool,
    pub status_list: bool,
    /// The line of the text on which each entry of the catalog stands.
    places: Vec<usize>,
}

impl Wanted {
    /// # Errors
    /// What can't be read.
    pub fn read(sent: &Parameters) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let algorithm = sent.first("algorithm").parse().unwrap_or_else(|message: String| {
            errors.push(FieldError::new("algorithm", format!("is unknown: {message}")));
            Algorithm::Es256
        });
        let seconds = sent.first("access_token_seconds").trim();
        let access_token_seconds = match seconds.parse() {
            Ok(seconds) => Some(seconds),
            Err(_) if seconds.is_empty() => None,
            Err(_) => {
                let message = "must be a number of seconds, or nothing";
                errors.push(FieldError::new("access_token_seconds", message));
                None
            }
        };
        let (mut entries, mut places) = (Vec::new(), Vec::new());
        for (at, line) in sent.text("scopes").lines().enumerate() {
            match entry(line) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    entries.push(entry);
                    places.push(at + 1);
                }
                Err(message) => {
                    errors
                        .push(FieldError::new("scopes", format!("in line {}: {message}", at + 1)));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            algorithm,
            access_token_seconds,
            catalog: has_scopes(sent).then_some(Catalog(entries)),
            is_shared: !sent.first("is_shared").is_empty(),
            status_list: !sent.first("status_list").is_empty(),
            places,
        })
    }

    /// The lines of the catalog's entries, to tell what a verb says is wrong.
    pub fn places(&self) -> Vec<usize> {
        self.places.clone()
    }
}

/// A line of the catalog; none where nothing stands on it.
fn entry(line: &str) -> Result<Option<CatalogScope>, String> {
    // What else counts as space is a control character, which the verb refuses.
    let line = line.trim_matches([' ', '\t']);
    if line.is_empty() {
        return Ok(None);
    }
    let (scope, sentence) = line.split_once('=').unwrap_or((line, ""));
    let scope = scope.trim_matches([' ', '\t']);
    let sentence = sentence.trim_matches([' ', '\t']);
    let (sentence, needs_admin) = match sentence.strip_suffix(NEEDS_ADMIN) {
        Some(rest) => (rest.trim_end_matches([' ', '\t']), true),
        None => (sentence, false),
    };
    let scope: Scope = scope.parse().map_err(|_| {
        format!("`{scope}` is no scope; one looks like read:tenants, and after it comes = and a sentence")
    })?;
    Ok(Some(CatalogScope { scope, sentence: sentence.to_owned(), needs_admin }))
}

/// What a verb says is wrong, with the lines of the form: `scopes[0].sentence` stands somewhere in it.
pub(super) fn in_the_form(problems: Vec<FieldError>, places: &[usize]) -> Vec<FieldError> {
    let told = |problem: FieldError| {
        let Some((at, part)) =
            problem.field.strip_prefix("scopes[").and_then(|rest| rest.split_once(']'))
        else {
            return problem;
        };
        let line = at.parse().ok().and_then(|at: usize| places.get(at)).copied().unwrap_or(0);
        let part = if part == ".sentence" { "the sentence" } else { "the scope" };
        FieldError::new("scopes", format!("in line {line}: {part} {}", problem.message))
    };
    problems.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_written_and_read_as_lines() {
        let read = |text: &str| {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("algorithm", "ES256"), ("scopes", text)])
                .finish();
            Wanted::read(&Parameters::parse(query.as_bytes()).unwrap())
        };
        let text = "read:tenants = See = your tenants\r\n\r\n write:members=Invite members [admin]";
        let Ok(wanted) = read(text) else { panic!("refused") };
        assert_eq!(wanted.places, [1, 3]);
        let catalog = wanted.catalog.unwrap();
        let expected = "read:tenants = See = your tenants\nwrite:members = Invite members [admin]";
        assert_eq!(lines(&catalog), expected);
        let Err(problems) = read("read:tenants\nno scope = x") else { panic!("accepted") };
        assert!(problems[0].message.starts_with("in line 2: `no scope` is no scope"));
        let told = in_the_form(vec![FieldError::new("scopes[1].sentence", "is odd")], &[1, 3]);
        assert_eq!(told[0].message, "in line 3: the sentence is odd");
    }
}
