//! Reading the settings from their sources, and saying in one sentence what is wrong with one of them.

use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;

use super::{BadConfig, Settings};

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "portcullis.toml";
/// What the variables of the environment that are settings begin with.
const PREFIX: &str = "PORTCULLIS_";
/// Variables with that prefix that are none: the file's name, and what the example API reads.
const NO_SETTINGS: [&str; 2] = ["CONFIG", "CREDENTIAL"];
/// Settings whose value no message may repeat.
const SECRETS: [&str; 5] =
    ["master_key", "database_url", "redis_url", "mail.smtp_url", "webhook.secret"];

/// What a flag on the command line overrides.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
}

/// Reads the settings from all their sources.
///
/// # Errors
/// When the file is missing though named, or a source holds an unknown key or a value of the wrong kind.
pub fn read(file: Option<&Path>, overrides: &Overrides) -> Result<Settings, BadConfig> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(BadConfig(format!("there is no configuration file {}", file.display())));
    }
    let file = file.unwrap_or(Path::new(DEFAULT_FILE));
    let defaults = Figment::from(Serialized::defaults(Settings::default()));
    let mut figment = defaults.clone();
    if file.is_file() {
        check_syntax(file)?;
        figment = figment.merge(Toml::file_exact(file));
    }
    for variable in variables(&defaults)? {
        figment = figment.merge(variable);
    }
    figment.merge(Serialized::defaults(overrides)).extract().map_err(|error| explain(&error))
}

/// Says where a file is no TOML, without the line itself: a secret may stand there.
fn check_syntax(file: &Path) -> Result<(), BadConfig> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadConfig(format!("can't read {name}: {error}")))?;
    let Err(error) = text.parse::<toml::Table>() else { return Ok(()) };
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Err(BadConfig(format!("{name} is not TOML, line {line}: {}", error.message())))
}

/// One setting that a variable of the environment gives.
struct Variable {
    name: String,
    key: String,
    value: Value,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("variable {}", self.name))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// The variables of the environment that are settings. What must be text is taken as it stands, the rest is read as
/// TOML writes values.
fn variables(defaults: &Figment) -> Result<Vec<Variable>, BadConfig> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if NO_SETTINGS.contains(&rest) || rest.starts_with("TEST_") {
            continue;
        }
        let key = rest.to_lowercase().replace("__", ".");
        let default = defaults.find_value(&key).ok().filter(|_| !key.is_empty());
        let default = default.ok_or_else(|| {
            BadConfig(format!("there is no setting for the environment variable {name}"))
        })?;
        let value = value
            .into_string()
            .map_err(|_| BadConfig(format!("the environment variable {name} is not UTF-8")))?;
        let value = match default {
            Value::String(..) => Value::from(value),
            // It can't fail: what reads as nothing else is text.
            _ => value.parse().unwrap_or_else(|never| match never {}),
        };
        found.push(Variable { name: name.to_owned(), key, value });
    }
    Ok(found)
}

/// One sentence that names the setting and where it stands.
fn explain(error: &figment::Error) -> BadConfig {
    let place = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(source) => format!(" in {source}"),
        None => format!(" in the {}", metadata.name),
    });
    let place = place.unwrap_or_default();
    let mut path = error.path.clone();
    if let Kind::UnknownField(name, _) = &error.kind {
        if path.last() != Some(name) {
            path.push(name.clone());
        }
        return BadConfig(format!("there is no setting `{}`{place}", path.join(".")));
    }
    let key = path.join(".");
    match &error.kind {
        // Their values are nobody's business.
        _ if SECRETS.contains(&key.as_str()) => BadConfig(format!("`{key}`{place} must be text")),
        // Where a section should stand, somebody may have put the secret of that section itself.
        _ if SECRETS
            .iter()
            .any(|it| it.strip_prefix(&key).is_some_and(|it| it.starts_with('.'))) =>
        {
            BadConfig(format!("`{key}`{place} must be a section with settings of its own"))
        }
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            let wanted = match wanted.as_str() {
                "u32" | "u64" => "a whole number from 0 up",
                wanted => wanted,
            };
            BadConfig(format!("`{key}`{place} is {found}; it must be {wanted}"))
        }
        Kind::UnknownVariant(found, known) => {
            let known = known.join(", ");
            BadConfig(format!("`{key}`{place} is `{found}`; it must be one of {known}"))
        }
        kind => BadConfig(format!("`{key}`{place} can't be used: {kind}")),
    }
}
