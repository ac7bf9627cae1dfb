//! What stands in the form of a key, as somebody typed it, and what that comes to.

use std::time::Duration;

use entity::Timestamp;
use portcullis_verifier::Scope;
use time::Date;
use time::macros::format_description;

use super::Choice;
use super::choices::is_listed;
use crate::api_keys::{AllowedNetworks, ApiKey, Labels};
use crate::console::{chosen, words};
use crate::http::Parameters;
use crate::platform::{FieldError, Refused};
use crate::resource_servers::ResourceServer;

const DAY: u64 = 24 * 60 * 60;
/// The expiries to choose from, in days.
const PRESETS: [(&str, &str, u64); 4] = [
    ("7", "In 7 days", 7),
    ("30", "In 30 days", 30),
    ("90", "In 90 days", 90),
    ("365", "In a year", 365),
];
const USUAL: &str = "90";
const LONGEST: usize = 20_000;

/// The values of the fields.
#[derive(Default)]
pub(super) struct Typed {
    pub name: String,
    pub description: String,
    pub project: String,
    pub environment: String,
    pub brand: String,
    /// What is ticked.
    pub scopes: Vec<String>,
    pub more_scopes: String,
    pub allowed_ips: String,
    pub has_own_address: bool,
    /// Whether a network that holds every address is meant.
    pub has_any_address: bool,
    pub labels: String,
    pub requests_per_minute: String,
    /// `7`, …, `never`, `date`; of a key that is there also `keep`.
    pub expiry: String,
    pub expires_on: String,
}

/// What was typed, as the verbs take it. The rest of the rules is theirs.
pub(super) struct Read {
    pub scopes: Vec<String>,
    pub allowed_ips: Option<Vec<String>>,
    pub labels: Labels,
    pub requests_per_minute: Option<u32>,
    pub expires_at: Option<Timestamp>,
}

impl Typed {
    /// A form that is opened.
    pub fn new(project: &str) -> Self {
        Self { project: project.to_owned(), expiry: USUAL.to_owned(), ..Self::default() }
    }

    /// A form that was sent.
    pub fn of(sent: &Parameters) -> Self {
        let first = |name: &str| sent.first(name).to_owned();
        Self {
            name: first("name"),
            description: sent.text("description"),
            project: first("project"),
            environment: first("environment"),
            brand: first("brand"),
            scopes: chosen(sent, "scopes"),
            more_scopes: sent.text("more_scopes"),
            allowed_ips: sent.text("allowed_ips"),
            has_own_address: !sent.first("own_address").is_empty(),
            has_any_address: !sent.first("any_address").is_empty(),
            labels: sent.text("labels"),
            requests_per_minute: first("requests_per_minute"),
            expiry: first("expiry"),
            expires_on: first("expires_on"),
        }
    }

    /// The form of a key that is there.
    pub fn of_key(key: &ApiKey, apis: &[ResourceServer]) -> Self {
        let (listed, others): (Vec<&Scope>, Vec<&Scope>) =
            key.scopes.iter().partition(|scope| is_listed(apis, scope));
        let texts = |scopes: Vec<&Scope>| -> Vec<String> {
            scopes.into_iter().map(ToString::to_string).collect()
        };
        let label = |(name, value): (&String, &String)| format!("{name}={value}");
        Self {
            name: key.name.clone(),
            description: key.description.clone(),
            scopes: texts(listed),
            more_scopes: texts(others).join("\n"),
            allowed_ips: match key.allowed_networks {
                AllowedNetworks::Anywhere => String::new(),
                AllowedNetworks::Only(_) => key.allowed_networks.texts().join("\n"),
            },
            labels: key.labels.iter().map(label).collect::<Vec<_>>().join("\n"),
            requests_per_minute: key
                .requests_per_minute
                .map(|limit| limit.to_string())
                .unwrap_or_default(),
            expiry: "keep".to_owned(),
            ..Self::default()
        }
    }

    /// What is typed into the fields that need reading. `before` is the expiry of a key that is there; `own_address`
    /// whence the visitor comes.
    pub fn read(
        &self,
        now: Timestamp,
        before: Option<Timestamp>,
        own_address: Option<&str>,
        errors: &mut Vec<FieldError>,
    ) -> Read {
        let is_long = |text: &&str| text.len() > LONGEST;
        let texts = [&*self.more_scopes, &self.allowed_ips, &self.labels];
        if texts.iter().any(is_long) {
            errors.push(FieldError::new("form", "is too long"));
        }
        let scopes = self.scopes.iter().cloned().chain(words(&self.more_scopes)).collect();
        let mut allowed_ips = words(&self.allowed_ips);
        allowed_ips.extend(own_address.filter(|_| self.has_own_address).map(str::to_owned));
        Read {
            scopes,
            allowed_ips: Some(allowed_ips).filter(|networks| !networks.is_empty()),
            labels: self.labels(errors),
            requests_per_minute: self.requests_per_minute(errors),
            expires_at: self.expires_at(now, before, errors),
        }
    }

    fn labels(&self, errors: &mut Vec<FieldError>) -> Labels {
        let mut labels = Labels::new();
        for line in self.labels.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once('=') else {
                errors.push(FieldError::new(
                    "labels",
                    "must have a name, = and a value on each line",
                ));
                break;
            };
            if labels.insert(name.trim().to_owned(), value.trim().to_owned()).is_some() {
                errors.push(FieldError::new("labels", "must not hold a name twice"));
            }
        }
        labels
    }

    fn requests_per_minute(&self, errors: &mut Vec<FieldError>) -> Option<u32> {
        let text = self.requests_per_minute.trim();
        if text.is_empty() {
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            errors.push(FieldError::new("requests_per_minute", "must be a whole number, or empty"));
        }
        number
    }

    fn expires_at(
        &self,
        now: Timestamp,
        before: Option<Timestamp>,
        errors: &mut Vec<FieldError>,
    ) -> Option<Timestamp> {
        if let Some((.., days)) = PRESETS.iter().find(|(value, ..)| *value == self.expiry) {
            return Some(now + Duration::from_secs(days * DAY));
        }
        match self.expiry.as_str() {
            "never" => None,
            "keep" => before,
            "date" => {
                let end = end_of_day(self.expires_on.trim());
                if end.is_none() {
                    let message = "must be a date, such as 2030-12-31";
                    errors.push(FieldError::new("expires_on", message));
                }
                end
            }
            _ => {
                errors.push(FieldError::new("expiry", "must be chosen from the list"));
                None
            }
        }
    }

    /// The lines of the list of expiries; `keep` is the first of them for a key that is there.
    pub fn expiries(&self, keep: Option<String>) -> Vec<Choice> {
        let keep = keep.map(|label| ("keep", label));
        let presets = PRESETS.iter().map(|(value, label, _)| (*value, (*label).to_owned()));
        let rest = [("never", "Never".to_owned()), ("date", "On a date".to_owned())];
        let all = keep.into_iter().chain(presets).chain(rest);
        all.map(|(value, label)| Choice::new(value, label, &self.expiry)).collect()
    }

    /// What a verb found wrong, at the field of the form where it was typed.
    pub fn placed(&self, refused: Refused) -> Refused {
        let Refused::Invalid(found) = refused else { return refused };
        let place = |error: FieldError| {
            let at = error.field.strip_prefix("scopes[").and_then(|rest| rest.strip_suffix(']'));
            let at = at.and_then(|at| at.parse::<usize>().ok());
            let typed_at = at.and_then(|at| at.checked_sub(self.scopes.len()));
            match (error.field.as_str(), typed_at) {
                ("expires_at", _) if self.expiry == "date" => {
                    FieldError::new("expires_on", error.message)
                }
                ("expires_at", _) => FieldError::new("expiry", error.message),
                (_, Some(at)) => FieldError::new(format!("more_scopes[{at}]"), error.message),
                _ => error,
            }
        };
        Refused::Invalid(found.into_iter().map(place).collect())
    }
}

/// A key works through the day that was chosen, as UTC has it.
fn end_of_day(text: &str) -> Option<Timestamp> {
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    date.with_hms(23, 59, 59).ok().map(|end| end.assume_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: &str) -> (Read, Vec<String>) {
        let typed = Typed::of(&Parameters::parse(form.as_bytes()).unwrap());
        let mut errors = Vec::new();
        let read = typed.read(Timestamp(0), Some(Timestamp(5)), Some("192.0.2.7"), &mut errors);
        (read, errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn what_is_typed_is_read() {
        let (typed, errors) = read(
            "expiry=date&expires_on=1970-01-02&scopes=a&scopes=b&more_scopes=c%0D%0A%0D%0Ad&allowed_ips=10.0.0.0/8%0D%0A\
             &own_address=1&labels=a%3Db%3Dc%0D%0Ad%3D&requests_per_minute=+5+",
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(typed.scopes, ["a", "b", "c", "d"]);
        assert_eq!(typed.allowed_ips.unwrap(), ["10.0.0.0/8", "192.0.2.7"]);
        assert_eq!(typed.expires_at, Some(Timestamp((2 * 86_400 - 1) * 1000)));
        assert_eq!(typed.requests_per_minute, Some(5));
        assert_eq!(typed.labels["a"], "b=c");
        assert_eq!(typed.labels["d"], "");
        assert_eq!(read("expiry=keep").0.expires_at, Some(Timestamp(5)));
        assert_eq!(read("expiry=never").0.expires_at, None);
        assert_eq!(read("expiry=7").0.expires_at, Some(Timestamp(7 * 86_400_000)));
        assert_eq!(read("expiry=7").0.allowed_ips, None);
    }

    #[test]
    fn what_cannot_be_read_is_told_where_it_stands() {
        assert_eq!(read("expiry=date&expires_on=soon").1, ["expires_on"]);
        assert_eq!(read("").1, ["expiry"]);
        assert_eq!(read("expiry=7&labels=a").1, ["labels"]);
        assert_eq!(read("expiry=7&labels=a%3D1%0Aa%3D2").1, ["labels"]);
        assert_eq!(read("expiry=7&requests_per_minute=-1").1, ["requests_per_minute"]);
        let typed = Typed { scopes: vec!["a".to_owned()], ..Typed::new("") };
        let found = ["scopes[0]", "scopes[1]", "scopes", "expires_at"];
        let found = found.map(|field| FieldError::new(field, "x")).to_vec();
        let Refused::Invalid(placed) = typed.placed(Refused::Invalid(found)) else { panic!() };
        let placed: Vec<String> = placed.into_iter().map(|it| it.field).collect();
        assert_eq!(placed, ["scopes[0]", "more_scopes[0]", "scopes", "expiry"]);
    }
}
