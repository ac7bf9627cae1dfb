//! The configuration: defaults, then `portcullis.toml`, then `PORTCULLIS_…` variables, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::IpNet;
use portcullis_verifier::key::Prefix;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::api_keys::ApiKeySettings;
use crate::clients::is_loopback;
use crate::identity::LoginSettings;
use crate::platform::telemetry::LogSettings;
use crate::tokens::TokenSettings;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "portcullis.toml";
/// What the variables of the environment that are settings begin with.
const PREFIX: &str = "PORTCULLIS_";
/// Variables with that prefix that are none: the file's name, and what the example API reads.
const NO_SETTINGS: [&str; 2] = ["CONFIG", "CREDENTIAL"];
/// Settings whose value no message may repeat.
const SECRETS: [&str; 2] = ["master_key", "database_url"];
const MASK: &str = "********";

/// What can be set, as it stands in the file.
///
/// It holds secrets as they were written, and so it can't be printed; see `masked`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The address and port to listen on.
    pub listen: String,
    /// The URL under which the world knows this server; `http://` and the listen address where it is empty.
    pub issuer: String,
    /// Where the database and the master key are kept by default.
    pub data_dir: PathBuf,
    /// `sqlite:` and a file, or `postgres://…`; a file in the data directory where it is empty.
    pub database_url: String,
    /// 32 bytes in base64; a file in the data directory where it is empty.
    pub master_key: String,
    /// What every credential begins with, so that secret scanners can name its owner.
    pub brand: String,
    /// Proxies whose `X-Forwarded-For` is believed, as CIDR ranges.
    pub trusted_proxies: Vec<IpNet>,
    pub tokens: TokenSettings,
    pub api_keys: ApiKeySettings,
    pub login: LoginSettings,
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            issuer: String::new(),
            data_dir: PathBuf::from("data"),
            database_url: String::new(),
            master_key: String::new(),
            brand: "pc".to_owned(),
            trusted_proxies: Vec::new(),
            tokens: TokenSettings::default(),
            api_keys: ApiKeySettings::default(),
            login: LoginSettings::default(),
            log: LogSettings::default(),
        }
    }
}

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

/// The configuration in force: checked, and complete. It holds secrets, and so it can't be printed.
#[derive(Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Without a slash at its end, as tokens carry it in `iss`.
    pub issuer: String,
    /// The issuer's path, without a slash at its end; mostly empty.
    pub base_path: String,
    /// Whether people reach us over https, so that cookies can say so.
    pub is_https: bool,
    pub database_url: Url,
    pub master_key: Option<SecretString>,
    pub master_key_file: PathBuf,
    pub brand: String,
    pub trusted_proxies: Vec<IpNet>,
    pub tokens: TokenSettings,
    pub api_keys: ApiKeySettings,
    pub login: LoginSettings,
    pub log: LogSettings,
}

/// A configuration that can't be used: one plain sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

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
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            let wanted = if wanted == "u64" { "a whole number from 0 up" } else { wanted };
            BadConfig(format!("`{key}`{place} is {found}; it must be {wanted}"))
        }
        Kind::UnknownVariant(found, known) => {
            let known = known.join(", ");
            BadConfig(format!("`{key}`{place} is `{found}`; it must be one of {known}"))
        }
        kind => BadConfig(format!("`{key}`{place} can't be used: {kind}")),
    }
}

impl Settings {
    /// Checks the settings and fills in what follows from others.
    ///
    /// # Errors
    /// The sentence that says which setting is wrong.
    pub fn check(self) -> Result<Config, BadConfig> {
        let listen: SocketAddr = self.listen.parse().map_err(|_| {
            BadConfig(format!(
                "listen is `{}`; it must be an address and port, such as 127.0.0.1:8080",
                self.listen
            ))
        })?;
        let issuer = self.checked_issuer(listen)?;
        let database_url = self.checked_database_url()?;
        self.tokens.check().map_err(BadConfig)?;
        self.check_prefixes()?;
        if self.login.session_seconds == 0 {
            return Err(BadConfig("login.session_seconds must be at least 1".to_owned()));
        }
        Ok(Config {
            listen,
            base_path: issuer.path().trim_end_matches('/').to_owned(),
            is_https: issuer.scheme() == "https",
            issuer: issuer.as_str().trim_end_matches('/').to_owned(),
            database_url,
            master_key: Some(self.master_key).filter(|key| !key.is_empty()).map(SecretString::from),
            master_key_file: self.data_dir.join("master.key"),
            brand: self.brand,
            trusted_proxies: self.trusted_proxies,
            tokens: self.tokens,
            api_keys: self.api_keys,
            login: self.login,
            log: self.log,
        })
    }

    fn checked_issuer(&self, listen: SocketAddr) -> Result<Url, BadConfig> {
        let text =
            if self.issuer.is_empty() { format!("http://{listen}") } else { self.issuer.clone() };
        let url = Url::parse(&text).map_err(|_| {
            BadConfig(format!(
                "issuer is `{text}`; it must be a URL such as https://auth.example.com"
            ))
        })?;
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(BadConfig(format!(
                "issuer is `{text}`; it must have no query, fragment or user name"
            )));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback(&url) => Ok(url),
            "http" => Err(BadConfig(format!(
                "issuer is `{text}`; it must use https unless it is on a loopback address"
            ))),
            _ => Err(BadConfig(format!("issuer is `{text}`; it must use https"))),
        }
    }

    fn checked_database_url(&self) -> Result<Url, BadConfig> {
        // The URL may hold a password: errors name the setting, never the value.
        let wrong = || BadConfig("database_url must begin with sqlite: or postgres://".to_owned());
        let text = match self.database_url.as_str() {
            "" => format!("sqlite://{}", self.data_dir.join("portcullis.db").display()),
            text => text.to_owned(),
        };
        // A relative path after `sqlite://` is no host; the driver knows it as it stands.
        let text = match text.strip_prefix("sqlite://") {
            Some(path) => format!("sqlite:{path}"),
            None => text,
        };
        let url = Url::parse(&text).map_err(|_| wrong())?;
        match url.scheme() {
            "sqlite" if url.path().is_empty() || url.path() == ":memory:" => Err(BadConfig(
                "database_url must name a file; a database in memory would lose what it promised"
                    .to_owned(),
            )),
            "sqlite" | "postgres" | "postgresql" => Ok(url),
            _ => Err(wrong()),
        }
    }

    fn check_prefixes(&self) -> Result<(), BadConfig> {
        let words =
            self.api_keys.environments.iter().map(String::as_str).chain(["", "cs", "rs", "rt"]);
        for word in words {
            if Prefix::new(&self.brand, word).is_err() {
                let rule = "must make a prefix of 1 to 32 lower-case letters, digits and inner underscores";
                return Err(BadConfig(format!("brand `{}` and `{word}` {rule}", self.brand)));
            }
        }
        if self.api_keys.environments.is_empty() {
            return Err(BadConfig("api_keys.environments must hold at least one word".to_owned()));
        }
        Ok(())
    }

    /// The settings with secrets masked, for people to see.
    #[must_use]
    pub fn masked(mut self) -> Self {
        if !self.master_key.is_empty() {
            self.master_key = MASK.to_owned();
        }
        if let Ok(url) = Url::parse(&self.database_url)
            && has_password(&url)
        {
            self.database_url = with_password(url, Some(MASK)).into();
        }
        self
    }
}

/// Whether a database URL is one that must not be shown.
#[must_use]
pub fn is_secret(database_url: &str) -> bool {
    Url::parse(database_url).is_ok_and(|url| has_password(&url))
}

/// Whether a database URL holds a password: in its place, or as a parameter, which the driver takes as well.
fn has_password(url: &Url) -> bool {
    url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
}

fn with_password(mut url: Url, password: Option<&str>) -> Url {
    if url.password().is_some() {
        // Refused only by URLs without a host, which can't hold one.
        let _ = url.set_password(password);
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if pairs.iter().any(|(name, _)| name == "password") {
        url.query_pairs_mut().clear().extend_pairs(pairs.iter().filter_map(|(name, value)| {
            match name.as_str() {
                "password" => password.map(|password| (name.as_str(), password)),
                name => Some((name, value.as_str())),
            }
        }));
    }
    url
}

impl Config {
    /// The database as people may see it: without a password.
    #[must_use]
    pub fn database_label(&self) -> String {
        if self.database_url.scheme() == "sqlite" {
            let file = crate::platform::db::sqlite_file(&self.database_url);
            return format!("SQLite, {}", file.display());
        }
        format!("PostgreSQL, {}", with_password(self.database_url.clone(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut Settings)) -> Result<Config, String> {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().map_err(|error| error.0)
    }

    #[test]
    fn the_defaults_are_complete() {
        let config = checked(|_| ()).unwrap();
        assert_eq!(config.issuer, "http://127.0.0.1:8080");
        assert_eq!(config.database_label(), "SQLite, data/portcullis.db");
        assert_eq!(config.base_path, "");
    }

    #[test]
    fn an_issuer_must_be_https_or_loopback() {
        assert_eq!(
            checked(|it| it.issuer = "https://example.com/auth/".into()).unwrap().issuer,
            "https://example.com/auth"
        );
        assert_eq!(
            checked(|it| it.issuer = "https://example.com/auth".into()).unwrap().base_path,
            "/auth"
        );
        for issuer in [
            "http://example.com",
            "ftp://example.com",
            "example.com",
            "https://example.com?x",
            "https://a@b.c",
        ] {
            assert!(checked(|it| it.issuer = issuer.into()).is_err(), "{issuer}");
        }
    }

    #[test]
    fn a_database_password_is_in_no_text_for_people() {
        let url = "postgres://portcullis:hunter2@db.example/portcullis";
        let settings = Settings {
            database_url: url.into(),
            master_key: "hunter3".into(),
            ..Settings::default()
        };
        let shown = toml::to_string(&settings.clone().masked()).unwrap();
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(!settings.check().unwrap().database_label().contains("hunter"));
        let url = "postgres://db.example/portcullis?user=p&password=hunter2&sslmode=require";
        let settings = Settings { database_url: url.into(), ..Settings::default() };
        let shown = toml::to_string(&settings.clone().masked()).unwrap();
        assert!(!shown.contains("hunter") && shown.contains("sslmode=require"), "{shown}");
        let label = settings.check().unwrap().database_label();
        assert!(!label.contains("hunter") && label.contains("sslmode=require"), "{label}");
        let error = checked(|it| it.database_url = "mysql://u:hunter2@h/d".into()).err().unwrap();
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn brands_with_digits_and_underscores_are_fine() {
        for brand in ["op365_sk", "ops0", "apvk"] {
            assert!(checked(|it| it.brand = brand.into()).is_ok(), "{brand}");
        }
        assert!(checked(|it| it.api_keys.environments = vec![String::new()]).is_ok());
        for brand in ["", "Pc", "p-c", "_pc", "pc_"] {
            assert!(checked(|it| it.brand = brand.into()).is_err(), "{brand}");
        }
    }
}
