//! Settings: where they come from, and what happens when they can't be used.

use rstest::rstest;
use serde_json::Value;

use crate::harness::{Database, Installation, Outcome};

/// 32 bytes.
const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What is in force.
fn in_force(here: &Installation, flags: &[&str]) -> Value {
    let text = here.succeeds(&[&["config", "--json"], flags].concat());
    serde_json::from_str(&text).unwrap()
}

/// A directory in which nothing is set.
async fn bare() -> Installation {
    let mut here = Installation::empty().await;
    here.unset("PORTCULLIS_LISTEN");
    here
}

// Precedence

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
    let mut here = bare().await;
    let settings = in_force(&here, &[]);
    assert_eq!(settings["listen"], "127.0.0.1:8080");
    assert_eq!(settings["issuer"], "http://127.0.0.1:8080");
    assert_eq!(settings["database_url"], "sqlite:data/portcullis.db");
    assert_eq!(settings["tokens"]["access_token_seconds"], 600);

    here.writes(
        "portcullis.toml",
        "listen = '127.0.0.1:8081'\nbrand = 'file'\n[tokens]\naccess_token_seconds = 61\n",
    );
    let settings = in_force(&here, &[]);
    assert_eq!(settings["listen"], "127.0.0.1:8081");
    assert_eq!(settings["issuer"], "http://127.0.0.1:8081");
    assert_eq!(settings["tokens"]["access_token_seconds"], 61);
    assert_eq!(settings["tokens"]["refresh_token_seconds"], 30 * 24 * 60 * 60);

    here.set("PORTCULLIS_LISTEN", "127.0.0.1:8082");
    here.set("PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS", "62");
    here.set("PORTCULLIS_TRUSTED_PROXIES", "[\"10.0.0.0/8\", \"::1\"]");
    here.set("PORTCULLIS_LOG__FORMAT", "json");
    let settings = in_force(&here, &[]);
    assert_eq!(settings["listen"], "127.0.0.1:8082");
    assert_eq!(settings["tokens"]["access_token_seconds"], 62);
    assert_eq!(settings["trusted_proxies"], serde_json::json!(["10.0.0.0/8", "::1/128"]));
    assert_eq!(settings["log"]["format"], "json");
    assert_eq!(settings["brand"], "file", "what the variables leave alone stays");

    let flags = ["--listen", "127.0.0.1:8083", "--issuer", "https://a.example", "--data-dir", "d"];
    let settings = in_force(&here, &flags);
    assert_eq!(settings["listen"], "127.0.0.1:8083");
    assert_eq!(settings["issuer"], "https://a.example");
    assert_eq!(settings["database_url"], "sqlite:d/portcullis.db");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_named_by_flag_or_variable_and_then_it_must_be_there() {
    let mut here = bare().await;
    here.writes("portcullis.toml", "brand = 'usual'");
    here.writes("other.toml", "brand = 'other'");
    assert_eq!(in_force(&here, &[])["brand"], "usual");
    assert_eq!(in_force(&here, &["--config", "other.toml"])["brand"], "other");
    here.set("PORTCULLIS_CONFIG", "other.toml");
    assert_eq!(in_force(&here, &[])["brand"], "other");
    here.set("PORTCULLIS_CONFIG", "missing.toml");
    let sentence = here.runs(&["config"]).sentence(2);
    assert!(sentence.contains("missing.toml"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_text_even_where_it_looks_like_a_number() {
    let mut here = bare().await;
    here.set("PORTCULLIS_BRAND", "365");
    assert_eq!(in_force(&here, &[])["brand"], "365");
    here.set("PORTCULLIS_BRAND", "true");
    assert_eq!(in_force(&here, &[])["brand"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_others_are_left_alone() {
    let mut here = bare().await;
    for name in ["PORTCULLIS_CREDENTIAL", "PORTCULLIS_TEST_POSTGRES_URL", "PORTCULLISES"] {
        here.set(name, "whatever");
    }
    in_force(&here, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_brands_come_from_the_file_or_a_variable() {
    let mut here = bare().await;
    assert_eq!(in_force(&here, &[])["further_brands"], serde_json::json!([]));
    here.writes("portcullis.toml", "brand = 'op365_sk'\nfurther_brands = ['pc']");
    assert_eq!(in_force(&here, &[])["further_brands"], serde_json::json!(["pc"]));
    here.set("PORTCULLIS_FURTHER_BRANDS", "[\"ops0\", \"apvk\"]");
    let settings = in_force(&here, &[]);
    assert_eq!(settings["further_brands"], serde_json::json!(["ops0", "apvk"]));
    assert_eq!(settings["brand"], "op365_sk");
    let shown = here.succeeds(&["config"]);
    here.unset("PORTCULLIS_FURTHER_BRANDS");
    here.writes("portcullis.toml", &shown);
    assert_eq!(in_force(&here, &[]), settings);
}

// What is shown

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_can_be_read_back_and_holds_no_secret() {
    let mut here = bare().await;
    here.set("PORTCULLIS_BRAND", "op365_sk");
    here.set("PORTCULLIS_API_KEYS__ENVIRONMENTS", "[\"live\", \"\"]");
    let shown = here.succeeds(&["config"]);
    let settings = in_force(&here, &[]);
    here.unset("PORTCULLIS_BRAND");
    here.unset("PORTCULLIS_API_KEYS__ENVIRONMENTS");
    here.writes("portcullis.toml", &shown);
    assert_eq!(in_force(&here, &[]), settings);
    assert_eq!(here.succeeds(&["config"]), shown);

    let secret = "hunter2";
    here.set("PORTCULLIS_MASTER_KEY", MASTER_KEY);
    for url in [
        "postgres://me:hunter2@db.example/portcullis?sslmode=require",
        "postgres://db.example/portcullis?user=me&password=hunter2&sslmode=require",
    ] {
        for arguments in [&["config"][..], &["config", "--json"]] {
            let shown = here.succeeds(&[arguments, &["--database-url", url]].concat());
            assert!(!shown.contains(secret) && !shown.contains(MASTER_KEY), "{shown}");
            assert!(shown.contains("db.example/portcullis"), "{shown}");
            assert!(shown.contains("sslmode=require") && shown.contains("****"), "{shown}");
        }
    }
    here.set("PORTCULLIS_REDIS_URL", "rediss://me:hunter2@redis.example/1");
    for arguments in [&["config"][..], &["config", "--json"]] {
        let shown = here.succeeds(arguments);
        assert!(!shown.contains(secret), "{shown}");
        assert!(shown.contains("rediss://me:********@redis.example/1"), "{shown}");
    }
    let shown = here.succeeds(&["config"]);
    toml::from_str::<toml::Table>(&shown).unwrap();
    assert!(!here.directory().join("data").exists(), "showing makes nothing");
}

// What can't be used

/// The one sentence with which a configuration is refused, by the command that shows it and by the server alike.
fn refused(here: &Installation, flags: &[&str]) -> String {
    let shown = here.runs(&[&["config"], flags].concat());
    assert_eq!(shown.stdout, "", "{shown:?}");
    let sentence = shown.sentence(2);
    assert_eq!(here.runs(&[&["serve"], flags].concat()).sentence(2), sentence);
    sentence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_in_the_file_is_named() {
    let here = bare().await;
    for (text, words) in [
        ("liste = '127.0.0.1:1'", &["`liste`", "portcullis.toml"][..]),
        (
            "[tokens]\naccess_token_minutes = 5",
            &["`tokens.access_token_minutes`", "portcullis.toml"],
        ),
        ("[token]\naccess_token_seconds = 5", &["`token`", "portcullis.toml"]),
        ("listen = 8080", &["`listen`", "8080", "portcullis.toml"]),
        ("listen = 'localhost'", &["listen", "`localhost`", "127.0.0.1:8080"]),
        ("listen = ''", &["listen"]),
        ("tokens = 5", &["`tokens`", "portcullis.toml"]),
        ("[tokens]\naccess_token_seconds = 'long'", &["`tokens.access_token_seconds`", "long"]),
        ("[tokens]\naccess_token_seconds = -1", &["`tokens.access_token_seconds`", "-1"]),
        ("[tokens]\naccess_token_seconds = 0", &["tokens.access_token_seconds"]),
        ("[tokens]\naccess_token_seconds = 86401", &["tokens.access_token_seconds", "86400"]),
        ("[tokens]\nrefresh_token_seconds = 99999999", &["tokens.refresh_token_seconds"]),
        ("[login]\nsession_seconds = 0", &["login.session_seconds"]),
        ("[log]\nformat = 'xml'", &["`log.format`", "xml"]),
        ("trusted_proxies = ['10.0.0.0/33']", &["`trusted_proxies", "portcullis.toml"]),
        ("trusted_proxies = ['10.0.0.7/8']", &["`trusted_proxies", "beyond the prefix"]),
        ("trusted_proxies = '10.0.0.0/8'", &["`trusted_proxies`"]),
        ("brand = 'My Brand'", &["brand", "`My Brand`"]),
        ("further_brands = 'acme'", &["`further_brands`", "acme"]),
        ("further_brands = ['My Brand']", &["further_brands", "`My Brand`"]),
        ("further_brands = ['acme', 'pc']", &["further_brands", "`pc`"]),
        ("further_brands = ['pc_cs']\n[api_keys]\nenvironments = ['']", &["`pc_cs_`"]),
        ("[api_keys]\nenvironments = ['live', 'rt']", &["environments", "`pc_rt_`"]),
        ("[api_keys]\nenvironments = []", &["api_keys.environments"]),
        ("[api_keys]\nrequests_per_minute = 0", &["api_keys.requests_per_minute"]),
        (
            "[api_keys]\nrequests_per_minute = -1",
            &["`api_keys.requests_per_minute`", "-1", "whole number"],
        ),
        ("[api_keys]\nrequests_per_minute = 'many'", &["`api_keys.requests_per_minute`"]),
        ("redis_url = 'http://:hunter2@h'", &["redis_url", "rediss://"]),
        ("redis_url = 'redis://hunter2@h'", &["redis_url"]),
        ("redis_url = 'hunter2'", &["redis_url"]),
        ("redis_url = 424242", &["`redis_url`", "text"]),
        ("metrics_listen = '9464'", &["metrics_listen", "`9464`", "127.0.0.1:9464"]),
        ("metrics_listen = 9464", &["`metrics_listen`", "9464"]),
        ("[api_keys]\nimported_prefixes = ['sk']", &["api_keys.imported_prefixes", "`sk`"]),
        ("[api_keys]\nimported_prefixes = ['sk_', 'a b_']", &["api_keys.imported_prefixes"]),
        ("[api_keys]\nimported_prefixes = 'sk_'", &["`api_keys.imported_prefixes`"]),
        ("issuer = 'auth.example.com'", &["issuer", "`auth.example.com`"]),
        ("issuer = 'http://auth.example.com'", &["issuer", "https"]),
        ("issuer = 'http://10.0.0.1'", &["issuer", "https"]),
        ("issuer = 'ftp://auth.example.com'", &["issuer", "https"]),
        ("issuer = 'https://auth.example.com/?a=b'", &["issuer", "query"]),
        ("issuer = \"https://a\\nb.example\\n?\"", &["issuer"]),
        ("database_url = 'mysql://u:hunter2@h/d'", &["database_url", "sqlite:"]),
        ("database_url = 'hunter2'", &["database_url", "sqlite:"]),
        ("database_url = 5", &["`database_url`", "text"]),
        ("database_url = 'sqlite::memory:'", &["database_url", "memory"]),
        ("database_url = 'sqlite:'", &["database_url"]),
        ("master_key = 424242", &["`master_key`", "text"]),
        ("brand = 'a'\nmaster_key = hunter2", &["portcullis.toml", "line 2"]),
        ("master_key = 'hunter2", &["portcullis.toml", "line 1"]),
        ("brand = 'a'\nbrand = 'b'", &["portcullis.toml", "line 2"]),
        ("\u{0}", &["portcullis.toml", "line 1"]),
    ] {
        here.writes("portcullis.toml", text);
        let sentence = refused(&here, &[]);
        for word in words {
            assert!(sentence.contains(word), "{text:?}: {word} is not in: {sentence}");
        }
        for secret in ["hunter2", "424242"] {
            assert!(!sentence.contains(secret), "{text:?}: {sentence}");
        }
    }
    std::fs::write(here.directory().join("portcullis.toml"), b"brand = '\xff'").unwrap();
    let sentence = refused(&here, &[]);
    assert!(sentence.contains("portcullis.toml"), "{sentence}");
    assert!(!here.directory().join("data").exists());
}

#[rstest]
#[case("PORTCULLIS_LISTN", "127.0.0.1:1", "PORTCULLIS_LISTN")]
#[case("PORTCULLIS_TOKENS__MINUTES", "5", "PORTCULLIS_TOKENS__MINUTES")]
#[case("PORTCULLIS_TOKENS_ACCESS_TOKEN_SECONDS", "5", "PORTCULLIS_TOKENS_ACCESS_TOKEN_SECONDS")]
#[case("PORTCULLIS_", "5", "PORTCULLIS_")]
#[case("PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS", "ten", "PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS")]
#[case("PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS", "", "PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS")]
#[case("PORTCULLIS_TOKENS__ACCESS_TOKEN_SECONDS", "0", "tokens.access_token_seconds")]
#[case("PORTCULLIS_TOKENS", "{minutes=1}", "tokens.minutes")]
#[case("PORTCULLIS_LOG__FORMAT", "xml", "PORTCULLIS_LOG__FORMAT")]
#[case("PORTCULLIS_ISSUER", "http://auth.example.com", "issuer")]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_variable_is_named(#[case] name: &str, #[case] value: &str, #[case] word: &str) {
    let mut here = bare().await;
    here.set(name, value);
    let sentence = refused(&here, &[]);
    assert!(sentence.contains(word), "{word} is not in: {sentence}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_utf_8_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let here = bare().await;
    let mut command = here.command(&["config"]);
    command.env("PORTCULLIS_BRAND", std::ffi::OsStr::from_bytes(b"\xff"));
    let sentence = Outcome::from(command.output().unwrap()).sentence(2);
    assert!(sentence.contains("PORTCULLIS_BRAND") && sentence.contains("UTF-8"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_flag_is_named() {
    let here = bare().await;
    for (flags, word) in [
        (&["--listen", "8080"][..], "listen"),
        (&["--issuer", "http://auth.example.com"], "issuer"),
        (&["--database-url", "mysql://u:hunter2@h/d"], "database_url"),
        (&["--config", "missing.toml"], "missing.toml"),
        (&["--config", "."], "configuration file"),
    ] {
        let sentence = refused(&here, flags);
        assert!(sentence.contains(word) && !sentence.contains("hunter2"), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_log_filter_is_a_wrong_setting() {
    let mut here = bare().await;
    here.set("PORTCULLIS_LOG__FILTER", "portcullis=loud");
    let sentence = here.runs(&["users", "list"]).sentence(2);
    assert!(sentence.contains("log.filter"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_a_wrong_setting_and_nothing_is_made() {
    let here = Installation::empty().await;
    let _taken = std::net::TcpListener::bind(&here.address).unwrap();
    let sentence = here.runs(&["serve"]).sentence(2);
    assert!(sentence.contains(&here.address) && sentence.contains("in use"), "{sentence}");
    // An address of somebody else's.
    let sentence = here.runs(&["serve", "--listen", "192.0.2.1:8080"]).sentence(2);
    assert!(sentence.contains("192.0.2.1:8080"), "{sentence}");
    assert!(!here.directory().join("data").exists());
}

// What the settings lead to

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_not_be_opened_is_one_sentence() {
    let here = bare().await;
    here.writes("nonsense.db", &"this is no database ".repeat(100));
    let sentence =
        here.runs(&["users", "list", "--database-url", "sqlite:nonsense.db"]).sentence(1);
    assert!(sentence.contains("nonsense.db"), "{sentence}");
    let sentence = here.runs(&["users", "list", "--database-url", "sqlite:."]).sentence(1);
    assert!(sentence.contains("can't open ."), "{sentence}");
    let sentence = here.runs(&["users", "list", "--data-dir", "nonsense.db"]).sentence(1);
    assert!(sentence.contains("nonsense.db"), "{sentence}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://me:hunter2@{free}/portcullis");
    let sentence = here.runs(&["users", "list", "--database-url", &url]).sentence(1);
    assert!(sentence.contains("PostgreSQL") && !sentence.contains("hunter2"), "{sentence}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_opens_only_with_its_own_master_key(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(mut here) = Installation::on(database).await else { return };
    here.is_set_up();
    let file = here.directory().join("data/master.key");
    let own_key = std::fs::read_to_string(&file).unwrap();

    let refused = |here: &Installation| {
        for arguments in [&["serve"][..], &["users", "list"]] {
            let sentence = here.runs(arguments).sentence(1);
            assert!(sentence.contains("master key"), "{sentence}");
            assert!(!sentence.contains(MASTER_KEY.trim_end_matches('=')), "{sentence}");
            assert!(!sentence.contains(own_key.trim()), "{sentence}");
        }
    };
    here.set("PORTCULLIS_MASTER_KEY", MASTER_KEY);
    refused(&here);
    here.set("PORTCULLIS_MASTER_KEY", "too short");
    refused(&here);
    here.unset("PORTCULLIS_MASTER_KEY");

    std::fs::write(&file, "damaged").unwrap();
    refused(&here);
    std::fs::remove_file(&file).unwrap();
    refused(&here);
    assert!(!file.exists(), "a new key would open nothing");

    here.set("PORTCULLIS_MASTER_KEY", own_key.trim());
    here.succeeds(&["users", "list"]);
    assert!(!file.exists());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn with_a_master_key_from_the_environment_none_is_written(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(mut here) = Installation::on(database).await else { return };
    here.set("PORTCULLIS_MASTER_KEY", MASTER_KEY);
    let server = here.starts();
    assert!(!here.directory().join("data/master.key").exists());
    assert!(!server.announcement.contains(MASTER_KEY) && !server.log().contains(MASTER_KEY));
    drop(server);
    // The other alphabet of base64, and no padding.
    here.set("PORTCULLIS_MASTER_KEY", MASTER_KEY.trim_end_matches('='));
    here.starts();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_never_prints_its_databases_password() {
    let Ok(url) = std::env::var("PORTCULLIS_TEST_POSTGRES_URL") else { return };
    let mut here = Installation::on(Database::Postgres).await.unwrap_or_else(|| panic!("{url}"));
    // The throw-away server trusts everybody, whatever the password.
    let own = here.variable("PORTCULLIS_DATABASE_URL").unwrap().to_owned();
    let mut url = url::Url::parse(&own).unwrap();
    url.set_password(Some("hunter2")).unwrap();
    here.set("PORTCULLIS_DATABASE_URL", url.as_str());
    here.set("PORTCULLIS_LOG__FILTER", "trace");
    let server = here.starts();
    assert!(server.announcement.contains("PostgreSQL, postgres://"), "{}", server.announcement);
    assert!(!server.announcement.contains("hunter2") && !server.log().contains("hunter2"));
}
