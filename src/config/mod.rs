//! The configuration: defaults, then `portcullis.toml`, then `PORTCULLIS_…` variables, then flags.

mod read;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use portcullis_verifier::TrustedProxies;
use portcullis_verifier::key::Prefix;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::alerts::WebhookSettings;
use crate::api_keys::ApiKeySettings;
use crate::audit::AuditSettings;
use crate::clients::is_loopback;
use crate::identity::LoginSettings;
use crate::leaks::SecretScanningSettings;
use crate::platform::mail::MailSettings;
use crate::platform::telemetry::LogSettings;
use crate::rate_limit::check_redis_url;
use crate::tokens::TokenSettings;
pub use read::{DEFAULT_FILE, Overrides, read};

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
    /// `redis://` or `rediss://`, of the Redis or Valkey that counts how often API keys are used; each process counts
    /// by itself where it is empty.
    pub redis_url: String,
    /// The address and port on which Prometheus finds the metrics; nowhere where it is empty.
    pub metrics_listen: String,
    /// 32 bytes in base64; a file in the data directory where it is empty.
    pub master_key: String,
    /// What every credential begins with, so that secret scanners can name its owner.
    pub brand: String,
    /// Further brands in force beside it: former ones, and those of other products.
    pub further_brands: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed, as CIDR ranges.
    pub trusted_proxies: TrustedProxies,
    pub tokens: TokenSettings,
    pub api_keys: ApiKeySettings,
    pub login: LoginSettings,
    pub mail: MailSettings,
    pub webhook: WebhookSettings,
    pub secret_scanning: SecretScanningSettings,
    pub audit: AuditSettings,
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            issuer: String::new(),
            data_dir: PathBuf::from("data"),
            database_url: String::new(),
            redis_url: String::new(),
            metrics_listen: String::new(),
            master_key: String::new(),
            brand: "pc".to_owned(),
            further_brands: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            tokens: TokenSettings::default(),
            api_keys: ApiKeySettings::default(),
            login: LoginSettings::default(),
            mail: MailSettings::default(),
            webhook: WebhookSettings::default(),
            secret_scanning: SecretScanningSettings::default(),
            audit: AuditSettings::default(),
            log: LogSettings::default(),
        }
    }
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
    pub redis_url: Option<SecretString>,
    pub metrics_listen: Option<SocketAddr>,
    pub master_key: Option<SecretString>,
    pub master_key_file: PathBuf,
    pub brand: String,
    pub further_brands: Vec<String>,
    pub trusted_proxies: TrustedProxies,
    pub tokens: TokenSettings,
    pub api_keys: ApiKeySettings,
    pub login: LoginSettings,
    pub mail: MailSettings,
    pub webhook: WebhookSettings,
    pub secret_scanning: SecretScanningSettings,
    pub audit: AuditSettings,
    pub log: LogSettings,
}

/// A configuration that can't be used: one plain sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

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
        let metrics_listen = self.checked_metrics_listen()?;
        check_redis_url(&self.redis_url).map_err(BadConfig)?;
        self.tokens.check().map_err(BadConfig)?;
        self.api_keys.check().map_err(BadConfig)?;
        self.mail.check().map_err(BadConfig)?;
        self.webhook.check().map_err(BadConfig)?;
        self.secret_scanning.check().map_err(BadConfig)?;
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
            redis_url: Some(self.redis_url).filter(|url| !url.is_empty()).map(SecretString::from),
            metrics_listen,
            master_key: Some(self.master_key).filter(|key| !key.is_empty()).map(SecretString::from),
            master_key_file: self.data_dir.join("master.key"),
            brand: self.brand,
            further_brands: self.further_brands,
            trusted_proxies: self.trusted_proxies,
            tokens: self.tokens,
            api_keys: self.api_keys,
            login: self.login,
            mail: self.mail,
            webhook: self.webhook,
            secret_scanning: self.secret_scanning,
            audit: self.audit,
            log: self.log,
        })
    }

    fn checked_metrics_listen(&self) -> Result<Option<SocketAddr>, BadConfig> {
        if self.metrics_listen.is_empty() {
            return Ok(None);
        }
        let address = self.metrics_listen.parse().map_err(|_| {
            BadConfig(format!(
                "metrics_listen is `{}`; it must be an address and port, such as 127.0.0.1:9464, or empty",
                self.metrics_listen
            ))
        })?;
        Ok(Some(address))
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

    fn brands(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.brand).chain(&self.further_brands).map(String::as_str)
    }

    /// Every brand makes a prefix with every word, and a secret's beginning tells a key from other credentials.
    fn check_prefixes(&self) -> Result<(), BadConfig> {
        let mut of_keys = BTreeSet::new();
        let mut of_others = BTreeSet::new();
        for (at, brand) in self.brands().enumerate() {
            let setting = if at == 0 { "brand" } else { "further_brands:" };
            if self.brands().take(at).any(|before| before == brand) {
                return Err(BadConfig(format!("{setting} `{brand}` is in force already")));
            }
            let prefix = |word: &str| {
                Prefix::new(brand, word).map_err(|_| {
                    let rule = "must make a prefix of 1 to 32 lower-case letters, digits and inner underscores";
                    BadConfig(format!("{setting} `{brand}` and `{word}` {rule}"))
                })
            };
            for word in &self.api_keys.environments {
                of_keys.insert(prefix(word)?.to_string());
            }
            prefix("")?;
            for kind in ["cs", "rs", "rt"] {
                of_others.insert(prefix(kind)?.to_string());
            }
        }
        match of_keys.intersection(&of_others).next() {
            None => Ok(()),
            Some(prefix) => Err(BadConfig(format!(
                "brand, further_brands and api_keys.environments would let API keys begin with `{prefix}_`, \
                 as client secrets (cs), credentials of resource servers (rs) or refresh tokens (rt) do"
            ))),
        }
    }

    /// The settings with secrets masked, for people to see.
    #[must_use]
    pub fn masked(mut self) -> Self {
        if !self.master_key.is_empty() {
            self.master_key = MASK.to_owned();
        }
        self.database_url = with_masked_password(self.database_url);
        self.redis_url = with_masked_password(self.redis_url);
        self.mail.smtp_url =
            with_masked_password(self.mail.smtp_url.expose_secret().to_owned()).into();
        if !self.webhook.secret.expose_secret().is_empty() {
            self.webhook.secret = MASK.into();
        }
        self
    }
}

fn with_masked_password(text: String) -> String {
    match Url::parse(&text) {
        Ok(url) if has_password(&url) => with_password(url, Some(MASK)).into(),
        _ => text,
    }
}

/// Whether a database URL is one that must not be shown.
#[must_use]
pub fn is_secret(database_url: &str) -> bool {
    Url::parse(database_url).is_ok_and(|url| has_password(&url))
}

/// Whether a URL holds a password: in its place, or as a parameter, which the database's driver takes as well.
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
    /// Every brand in force, the main one first.
    #[must_use]
    pub fn brands(&self) -> Vec<&str> {
        std::iter::once(&self.brand).chain(&self.further_brands).map(String::as_str).collect()
    }

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
    fn the_mail_servers_password_is_in_no_text_for_people() {
        let mail = MailSettings {
            smtp_url: "smtps://portcullis:hunter2@mail.example".into(),
            from: "auth@example.com".to_owned(),
        };
        let settings = Settings { mail, ..Settings::default() };
        assert!(!format!("{:?}", settings.mail).contains("hunter"));
        let shown = toml::to_string(&settings.masked()).unwrap();
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("smtps://portcullis:********@mail.example"), "{shown}");
    }

    #[test]
    fn the_redis_password_is_in_no_text_for_people() {
        let url = "rediss://portcullis:hunter2@redis.example:6380/1";
        let settings = Settings { redis_url: url.into(), ..Settings::default() };
        let shown = toml::to_string(&settings.masked()).unwrap();
        assert!(shown.contains("rediss://portcullis:********@redis.example:6380/1"), "{shown}");
        let error = checked(|it| it.redis_url = "http://:hunter2@h".into()).err().unwrap();
        assert!(error.contains("redis_url") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn the_webhooks_secret_is_in_no_text_for_people() {
        let webhook = WebhookSettings {
            url: "https://example.com/hook".to_owned(),
            secret: "whsec_hunter2".into(),
        };
        let settings = Settings { webhook, ..Settings::default() };
        assert!(!format!("{:?}", settings.webhook).contains("hunter"));
        let shown = toml::to_string(&settings.clone().masked()).unwrap();
        assert!(!shown.contains("hunter") && shown.contains("********"), "{shown}");
        let sentence = settings.check().err().unwrap().0;
        assert!(sentence.contains("webhook.secret") && !sentence.contains("hunter"), "{sentence}");
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
    #[test]
    fn several_brands_are_in_force_at_once_and_the_main_one_comes_first() {
        let products = |it: &mut Settings| {
            it.brand = "op365_sk".into();
            it.further_brands = vec!["ops0".into(), "apvk".into()];
            it.api_keys.environments = vec!["live".into(), String::new()];
        };
        let config = checked(products).unwrap();
        assert_eq!(config.brands(), ["op365_sk", "ops0", "apvk"]);
        assert_eq!(checked(|_| ()).unwrap().brands(), ["pc"]);
    }

    #[test]
    fn further_brands_are_checked_as_the_first_is() {
        let refused = |brands: &[&str], environments: &[&str]| {
            let change = |it: &mut Settings| {
                it.further_brands = brands.iter().map(|it| (*it).to_owned()).collect();
                it.api_keys.environments = environments.iter().map(|it| (*it).to_owned()).collect();
            };
            checked(change).err()
        };
        assert_eq!(refused(&["acme", "ops0"], &["live", ""]), None);
        for brand in ["", "Acme", "a-b", "_a", "a_", &"a".repeat(30)] {
            let sentence = refused(&["acme", brand], &["live"]).unwrap();
            assert!(sentence.contains(&format!("further_brands: `{brand}`")), "{sentence}");
        }
        for brands in [&["pc"][..], &["acme", "acme"]] {
            let sentence = refused(brands, &["live"]).unwrap();
            assert!(sentence.contains("in force already"), "{sentence}");
        }
        // What a secret is, its beginning tells.
        for (brands, environments) in [
            (&["pc_cs"][..], &[""][..]),
            (&[], &["live", "rs"]),
            (&["acme", "acme_rt"], &["", "live"]),
        ] {
            let sentence = refused(brands, environments).unwrap();
            assert!(sentence.contains("would let API keys begin with"), "{sentence}");
        }
        assert_eq!(refused(&["pc_cs"], &["live"]), None);
    }
}
