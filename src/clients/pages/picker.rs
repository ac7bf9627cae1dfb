//! Picking what an application may ask for: the scopes of each API, with their sentences, to tick; and a place to write
//! those that are in no catalog as they are, such as `read:tenants/acme` or a wildcard.

use entity::ResourceServerId;
use portcullis_verifier::{Scope, ScopeSet};

use super::super::{Client, NewAudience};
use crate::console::{chosen, grouped};
use crate::http::Parameters;
use crate::platform::FieldError;
use crate::resource_servers::{CatalogScope, ResourceServer};

/// How many boxes there are at most: a form has up to a hundred parameters, and a page is to be light. The scopes of
/// APIs for which there is no room are written.
const MOST_BOXES: usize = 80;

/// The part of the form that says what an application may ask for.
pub(super) struct Picker {
    pub apis: Vec<Api>,
    /// What is written rather than ticked: lines of an audience and its scopes.
    pub more: String,
}

/// An API and its scopes.
pub(super) struct Api {
    pub name: String,
    pub audience: String,
    /// How many scopes it offers.
    pub offers: String,
    pub plain: Vec<Tick>,
    pub powerful: Vec<Tick>,
    /// Whether its scopes are too many for boxes.
    pub is_written: bool,
    pub is_open: bool,
}

/// A box to tick.
pub(super) struct Tick {
    /// The API's id and the scope.
    pub value: String,
    pub scope: String,
    pub sentence: String,
    pub is_ticked: bool,
}

impl Picker {
    /// With nothing ticked.
    pub fn new(offered: &[ResourceServer]) -> Self {
        Self::with(offered, String::new(), |_, _| false)
    }

    /// With what the application may ask for.
    pub fn of(client: &Client, offered: &[ResourceServer]) -> Self {
        let has = |api: &ResourceServer, scope: &Scope| {
            client.audience(api.id).is_some_and(|it| it.allowed.iter().any(|has| has == scope))
        };
        let mut picker = Self::with(offered, String::new(), has);
        let lines = offered.iter().zip(&picker.apis).filter_map(|(api, shown)| {
            let allowed = &client.audience(api.id)?.allowed;
            let is_ticked = |scope: &&Scope| {
                !shown.is_written && api.catalog.0.iter().any(|entry| entry.scope == **scope)
            };
            let others = allowed.iter().filter(|scope| !is_ticked(scope));
            let others: Vec<&str> = others.map(Scope::as_str).collect();
            (!others.is_empty()).then(|| format!("{} {}", api.audience, others.join(" ")))
        });
        picker.more = lines.collect::<Vec<_>>().join("\n");
        picker
    }

    /// With what was sent.
    pub fn sent(sent: &Parameters, offered: &[ResourceServer]) -> Self {
        let ticked = chosen(sent, "scopes");
        Self::with(offered, sent.text("more_scopes"), |api, scope| {
            ticked.contains(&value(api.id, scope))
        })
    }

    fn with(
        offered: &[ResourceServer],
        more: String,
        is_ticked: impl Fn(&ResourceServer, &Scope) -> bool,
    ) -> Self {
        let mut room = MOST_BOXES;
        let apis = offered.iter().map(|api| {
            let entries = &api.catalog.0;
            let is_written = entries.len() > room;
            room -= if is_written { 0 } else { entries.len() };
            let tick = |entry: &CatalogScope| Tick {
                value: value(api.id, &entry.scope),
                scope: entry.scope.to_string(),
                sentence: entry.sentence.clone(),
                is_ticked: is_ticked(api, &entry.scope),
            };
            let boxes = |powerful: bool| {
                let is_of_kind = |it: &&CatalogScope| {
                    !is_written && api.catalog.is_powerful(&it.scope) == powerful
                };
                entries.iter().filter(is_of_kind).map(tick).collect::<Vec<_>>()
            };
            let (plain, powerful) = (boxes(false), boxes(true));
            let has_ticks = plain.iter().chain(&powerful).any(|it| it.is_ticked);
            Api {
                name: api.name.clone(),
                audience: api.audience.clone(),
                offers: grouped(entries.len() as u64),
                is_open: has_ticks || (!api.is_management && !is_written),
                is_written,
                plain,
                powerful,
            }
        });
        Self { apis: apis.collect(), more }
    }
}

fn value(api: ResourceServerId, scope: &Scope) -> String {
    format!("{api} {scope}")
}

/// What was ticked and written, by API in the order in which they are offered. What a request without `scope` gets is
/// all of it.
///
/// # Errors
/// What can't be read of it.
pub(super) fn picked(
    sent: &Parameters,
    offered: &[ResourceServer],
) -> Result<Vec<NewAudience>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut sets = vec![ScopeSet::default(); offered.len()];
    let mut add = |field: &str, place: Option<usize>, text: &str, whose: &str| match (
        place.and_then(|at| sets.get_mut(at)),
        text.parse::<Scope>(),
    ) {
        (Some(set), Ok(scope)) => set.insert(scope),
        (None, _) => {
            let message = format!("names `{whose}`, which is no API that you may use");
            errors.push(FieldError::new(field, message));
        }
        (_, Err(_)) => {
            errors.push(FieldError::new(field, format!("holds `{text}`, which is no scope")));
        }
    };
    for ticked in chosen(sent, "scopes") {
        let (api, scope) = ticked.split_once(' ').unwrap_or((&ticked, ""));
        let place = api.parse().ok().and_then(|id| offered.iter().position(|it| it.id == id));
        add("scopes", place, scope, api);
    }
    for line in sent.first("more_scopes").lines() {
        let mut words = line.split_whitespace();
        let Some(audience) = words.next() else { continue };
        let place = offered.iter().position(|it| it.audience == audience);
        let mut words = words.peekable();
        if words.peek().is_none() {
            add("more_scopes", place, "", audience);
        }
        words.for_each(|word| add("more_scopes", place, word, audience));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let audience = |(api, allowed): (&ResourceServer, ScopeSet)| NewAudience {
        resource_server: api.id,
        default: allowed.clone(),
        allowed,
    };
    let wanted = offered.iter().zip(sets).filter(|(_, set)| !set.is_empty());
    Ok(wanted.map(audience).collect())
}
