//! The fields of the forms that make and change an application.

use super::super::{Client, GrantType, NewAudience};
use super::in_words;
use super::picker::{Picker, picked};
use crate::console::{chosen, words};
use crate::http::Parameters;
use crate::platform::FieldError;
use crate::resource_servers::ResourceServer;

/// What stands in the fields.
pub(super) struct Fields {
    pub name: String,
    pub is_public: bool,
    pub grant_types: Vec<GrantChoice>,
    pub redirect_uris: String,
    pub requires_pkce: bool,
    pub refresh_retry_seconds: String,
    pub is_first_party: bool,
    pub logo_uri: String,
    pub policy_uri: String,
    pub tos_uri: String,
    pub picker: Picker,
}

/// A grant type to tick.
pub(super) struct GrantChoice {
    pub value: &'static str,
    pub label: &'static str,
    pub hint: &'static str,
    pub is_ticked: bool,
}

fn grant_choices(is_ticked: impl Fn(GrantType) -> bool) -> Vec<GrantChoice> {
    let choice = |it: GrantType| GrantChoice {
        value: it.as_str(),
        label: in_words(it),
        hint: match it {
            GrantType::AuthorizationCode => {
                "Sends people here to log in and to allow it (authorization code)."
            }
            GrantType::RefreshToken => {
                "Gets new tokens for them without asking again (refresh token)."
            }
            GrantType::ClientCredentials => {
                "Without people, in the name of your organization (client credentials). Only a confidential one."
            }
        },
        is_ticked: is_ticked(it),
    };
    GrantType::ALL.map(choice).into()
}

impl Fields {
    /// Of an application to be, as most are.
    pub fn new(offered: &[ResourceServer]) -> Self {
        Self {
            name: String::new(),
            is_public: false,
            grant_types: grant_choices(|it| it != GrantType::ClientCredentials),
            redirect_uris: String::new(),
            requires_pkce: true,
            refresh_retry_seconds: String::new(),
            is_first_party: false,
            logo_uri: String::new(),
            policy_uri: String::new(),
            tos_uri: String::new(),
            picker: Picker::new(offered),
        }
    }

    pub fn of(client: &Client, offered: &[ResourceServer]) -> Self {
        let text = |uri: &Option<String>| uri.clone().unwrap_or_default();
        Self {
            name: client.name.clone(),
            is_public: !client.is_confidential,
            grant_types: grant_choices(|it| client.may_use(it)),
            redirect_uris: client.redirect_uris.join("\n"),
            requires_pkce: client.requires_pkce,
            refresh_retry_seconds: client.refresh_retry.as_secs().to_string(),
            is_first_party: client.is_first_party,
            logo_uri: text(&client.logo_uri),
            policy_uri: text(&client.policy_uri),
            tos_uri: text(&client.tos_uri),
            picker: Picker::of(client, offered),
        }
    }

    pub fn sent(sent: &Parameters, offered: &[ResourceServer]) -> Self {
        let text = |name: &str| sent.first(name).to_owned();
        let grant_types = chosen(sent, "grant_types");
        Self {
            name: text("name"),
            is_public: text("kind") == "public",
            grant_types: grant_choices(|it| grant_types.iter().any(|sent| sent == it.as_str())),
            redirect_uris: sent.text("redirect_uris"),
            requires_pkce: !text("requires_pkce").is_empty(),
            refresh_retry_seconds: text("refresh_retry_seconds"),
            is_first_party: !text("is_first_party").is_empty(),
            logo_uri: text("logo_uri"),
            policy_uri: text("policy_uri"),
            tos_uri: text("tos_uri"),
            picker: Picker::sent(sent, offered),
        }
    }
}

/// What the fields say, for the verbs.
pub(super) struct Wanted {
    pub grant_types: Vec<GrantType>,
    pub redirect_uris: Vec<String>,
    pub audiences: Vec<NewAudience>,
    /// None: as is usual.
    pub refresh_retry_seconds: Option<u64>,
    pub requires_pkce: bool,
    pub is_first_party: bool,
    pub logo_uri: Option<String>,
    pub policy_uri: Option<String>,
    pub tos_uri: Option<String>,
}

impl Wanted {
    /// # Errors
    /// What can't be read.
    pub fn read(sent: &Parameters, offered: &[ResourceServer]) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut grant_types = Vec::new();
        for text in chosen(sent, "grant_types") {
            match text.parse() {
                Ok(grant_type) => grant_types.push(grant_type),
                Err(_) => errors.push(FieldError::new("grant_types", "holds an unknown one")),
            }
        }
        let audiences = picked(sent, offered).unwrap_or_else(|wrong| {
            errors.extend(wrong);
            Vec::new()
        });
        let seconds = sent.first("refresh_retry_seconds").trim();
        let refresh_retry_seconds = match seconds.parse() {
            Ok(seconds) => Some(seconds),
            Err(_) if seconds.is_empty() => None,
            Err(_) => {
                errors.push(FieldError::new("refresh_retry_seconds", "must be from 0 to 60"));
                None
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let uri = |name: &str| Some(sent.first(name).trim().to_owned()).filter(|it| !it.is_empty());
        Ok(Self {
            grant_types,
            redirect_uris: words(sent.first("redirect_uris")),
            audiences,
            refresh_retry_seconds,
            requires_pkce: !sent.first("requires_pkce").is_empty(),
            is_first_party: !sent.first("is_first_party").is_empty(),
            logo_uri: uri("logo_uri"),
            policy_uri: uri("policy_uri"),
            tos_uri: uri("tos_uri"),
        })
    }

    /// The names of the APIs, in their order: a verb tells them apart by their places.
    pub fn api_names(&self, offered: &[ResourceServer]) -> Vec<String> {
        let name = |it: &NewAudience| {
            let api = offered.iter().find(|api| api.id == it.resource_server);
            api.map(|api| api.name.clone()).unwrap_or_default()
        };
        self.audiences.iter().map(name).collect()
    }
}

/// What a verb says is wrong, under the names of the form's fields.
pub(super) fn in_the_form(problems: Vec<FieldError>, api_names: &[String]) -> Vec<FieldError> {
    let told = |problem: FieldError| {
        let Some(rest) = problem.field.strip_prefix("audiences") else { return problem };
        let place = rest.strip_prefix('[').and_then(|rest| rest.split(']').next()?.parse().ok());
        match place.and_then(|at: usize| api_names.get(at)) {
            Some(name) => FieldError::new("scopes", format!("of {name}: {}", problem.message)),
            None if api_names.is_empty() => {
                FieldError::new("scopes", "are missing: tick at least one that it may ask for")
            }
            None => FieldError::new("scopes", problem.message),
        }
    };
    problems.into_iter().map(told).collect()
}
