//! The program itself, as a newcomer and an operator run it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_verifier::{RequestContext, Verifier};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::Value;

use crate::harness::actors::{claims, http, introspect};
use crate::harness::installation::BINARY;
use crate::harness::world::{AUDIENCE, PASSWORD};
use crate::harness::{Answer, Application, Database, Installation, Outcome, Person, World};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn gets(url: &str) -> Answer {
    Answer::of(http().get(url).send().await.unwrap()).await
}

async fn posts(url: &str, form: &[(&str, &str)]) -> Answer {
    Answer::of(http().post(url).form(form).send().await.unwrap()).await
}

// The first start

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_all_that_it_needs_and_says_what_to_do() {
    let here = Installation::empty().await;
    let server = here.starts();

    let data = here.directory().join("data");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("master.key")), 0o600);
    assert_eq!(mode(&data.join("portcullis.db")), 0o600);
    // Byte 18 of a SQLite file: 2 where it is written ahead.
    assert_eq!(std::fs::read(data.join("portcullis.db")).unwrap()[18], 2);

    let said = &server.announcement;
    for words in [env!("CARGO_PKG_VERSION"), &here.issuer(), "SQLite, data/portcullis.db"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let link = server.setup_link().unwrap_or_else(|| panic!("there is no link in {said}"));
    assert!(said.contains(&format!("{BINARY} quickstart")), "{said}");
    assert_eq!(gets(link).await.status, StatusCode::OK);
    assert_eq!(gets(&format!("{}/readyz", here.issuer())).await.status, StatusCode::OK);
    assert!(!server.log().contains(link.rsplit('=').next().unwrap()), "{}", server.log());
    assert_eq!(server.stops(), 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_link_makes_the_owner_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    let server = here.starts();
    let link = server.setup_link().unwrap().to_owned();
    let form = [
        ("token", link.rsplit('=').next().unwrap()),
        ("email", "ada@example.com"),
        ("name", "Ada"),
        ("organization", "Example"),
        ("password", PASSWORD),
    ];
    let setup = format!("{}/setup", here.issuer());
    assert_eq!(posts(&setup, &form).await.status, StatusCode::SEE_OTHER);
    assert_eq!(posts(&setup, &form).await.status, StatusCode::FORBIDDEN);
    assert_eq!(gets(&link).await.status, StatusCode::FORBIDDEN);
    let login = [("email", "ada@example.com"), ("password", PASSWORD)];
    let login = posts(&format!("{}/login", here.issuer()), &login).await;
    assert_eq!(login.status, StatusCode::SEE_OTHER);
    assert!(!server.log().contains(PASSWORD), "{}", server.log());
    drop(server);

    let again = here.starts();
    assert_eq!(again.setup_link(), None, "{}", again.announcement);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_everything_as_it_was(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    let first = here.starts();
    let keys = gets(&format!("{}/oauth/jwks", here.issuer())).await.text;
    let key_file = std::fs::read(here.directory().join("data/master.key")).unwrap();
    let first_link = first.setup_link().unwrap().to_owned();
    assert_eq!(first.stops(), 0);

    let second = here.starts();
    assert_eq!(gets(&format!("{}/oauth/jwks", here.issuer())).await.text, keys);
    assert_eq!(std::fs::read(here.directory().join("data/master.key")).unwrap(), key_file);
    let second_link = second.setup_link().unwrap();
    assert_ne!(second_link, first_link);
    for link in [second_link, &first_link] {
        assert_eq!(gets(link).await.status, StatusCode::OK, "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_somebody_elses_making_keeps_its_mode() {
    let here = Installation::empty().await;
    let data = here.directory().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o750)).unwrap();
    here.succeeds(&["users", "list"]);
    assert_eq!(mode(&data), 0o750);
}

// Setup

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn setup_makes_the_owner_without_a_browser_and_only_once(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    let arguments =
        ["setup", "--email", "Ada@Example.com", "--organization", "Example", "--password-stdin"];
    let said = here.runs_with(&format!("{PASSWORD}\n"), &arguments).success();
    assert!(said.contains("ada@example.com") && !said.contains(PASSWORD), "{said}");

    let users = here.succeeds(&["users", "list", "--json"]);
    let another = [
        "setup",
        "--email",
        "eve@example.com",
        "--organization",
        "Other",
        "--password-stdin",
        "--json",
    ];
    let sentence = here.runs_with(PASSWORD, &another).sentence(1);
    assert!(sentence.contains("nothing was changed"), "{sentence}");
    assert_eq!(here.succeeds(&["users", "list", "--json"]), users);

    let server = here.starts();
    assert_eq!(server.setup_link(), None);
    let login = [("email", "ada@example.com"), ("password", PASSWORD)];
    let login = posts(&format!("{}/login", here.issuer()), &login).await;
    assert_eq!(login.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_refuses_what_can_not_be_in_one_sentence() {
    let here = Installation::empty().await;
    let sets_up = |email: &str, organization: &str, password: &str| {
        let arguments = [
            "setup",
            "--email",
            email,
            "--organization",
            organization,
            "--password-stdin",
            "--json",
        ];
        here.runs_with(password, &arguments)
    };
    for (email, organization, password, word) in [
        ("ada@example.com", "Example", "hunter2hunt", "password"),
        ("ada@example.com", "Example", "", "password"),
        ("ada@example.com", "Example", &"long ".repeat(60), "password"),
        ("ada", "Example", PASSWORD, "email"),
        ("ada@example.com", " ", PASSWORD, "organization"),
        ("ada@example.com", "Exam\nple", PASSWORD, "organization"),
    ] {
        let sentence = sets_up(email, organization, password).sentence(2);
        assert!(sentence.starts_with(word), "{sentence}");
        assert!(password.is_empty() || !sentence.contains(password), "{sentence}");
    }
    assert_eq!(here.succeeds(&["users", "list", "--json"]).trim(), "[]");
    let made: Value =
        serde_json::from_str(&sets_up("ada@example.com", "Example", PASSWORD).success()).unwrap();
    assert!(made["user"].as_str().unwrap().starts_with("usr_"), "{made}");
    assert!(made["organization"].as_str().unwrap().starts_with("org_"), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_setups_at_once_one_makes_the_owner() {
    let here = Installation::empty().await;
    here.succeeds(&["migrate"]);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let set_up = |n: usize| {
            let here = &here;
            scope.spawn(move || {
                let email = format!("ada{n}@example.com");
                let arguments =
                    ["setup", "--email", &email, "--organization", "Example", "--password-stdin"];
                here.runs_with(PASSWORD, &arguments)
            })
        };
        let running: Vec<_> = (0..3).map(set_up).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|it| it.code == 0).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|it| it.code == 1).count(), 2, "{outcomes:?}");
    let users: Value = serde_json::from_str(&here.succeeds(&["users", "list", "--json"])).unwrap();
    assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
}

// Quickstart

/// The lines of a quickstart that are commands.
fn commands(said: &str) -> Vec<&str> {
    let is_command = |line: &&str| {
        line.starts_with(BINARY) || line.starts_with("curl ") || line.starts_with("PORTCULLIS_")
    };
    said.lines().filter_map(|line| line.strip_prefix("   ")).filter(is_command).collect()
}

/// A word of a pasted command that follows these words.
fn after<'a>(text: &'a str, words: &str) -> &'a str {
    let at = text.find(words).unwrap_or_else(|| panic!("there is no {words} in {text}"));
    text[at + words.len()..].split([' ', '"', '\n', ',']).next().unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn quickstart_prints_commands_that_work_when_pasted(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
    #[values(false, true)] is_set_up: bool,
) {
    let Some(here) = Installation::on(database).await else { return };
    if is_set_up {
        here.is_set_up();
    }
    let said = here.succeeds(&["quickstart"]);
    assert_eq!(said.contains("owner@example.com"), !is_set_up, "{said}");
    let commands = commands(&said);
    assert_eq!(commands.len(), 6, "{commands:?}");

    let server = here.starts_by(commands[0]);
    assert_eq!(server.setup_link(), None);
    assert!(commands[1].starts_with(&format!("PORTCULLIS_ISSUER={} ", here.issuer())), "{said}");

    // What the example API would do with the line's credential.
    let api = Verifier::discover(here.issuer())
        .audience(AUDIENCE)
        .credential(after(commands[1], "PORTCULLIS_CREDENTIAL="))
        .build()
        .await
        .unwrap();
    let asks = async |credential: &str| {
        api.verify(Some(&format!("Bearer {credential}")), &RequestContext::default()).await
    };
    let key = after(commands[2], "Bearer ");
    crate::harness::eventually(async || asks(key).await.is_ok()).await;
    let caller = asks(key).await.unwrap();
    assert!(caller.require("read:tenants").is_ok() && caller.require("write:tenants").is_ok());

    if Command::new("curl").arg("--version").output().is_ok() {
        let answer: Value = serde_json::from_str(&here.pastes(commands[3]).success()).unwrap();
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(asks(token).await.unwrap().require("read:tenants").is_ok());
    }

    if !is_set_up {
        let link = format!("{} --no-browser", commands[4]);
        let asking = Asking::begins(here.shell(&link));
        let password = after(&said, "owner@example.com, password ");
        let owner = Person::at(&here.issuer(), "owner@example.com", password);
        owner.logs_in().await;
        asking.is_answered(&owner, "allow").await;
        let token = asking.ends().success();
        assert!(asks(token.trim()).await.unwrap().require("read:tenants").is_ok());
    }

    here.pastes(commands[5]).success();
    crate::harness::eventually(async || asks(key).await.is_err()).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_quickstart_changes_nothing_and_says_so(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    let lists = || {
        ["users", "clients", "resource-servers", "api-keys", "signing-keys"]
            .map(|what| here.succeeds(&[what, "list", "--json"]))
    };
    here.succeeds(&["quickstart"]);
    let before = lists();
    let said = here.succeeds(&["quickstart"]);
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(lists(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_commands_keep_the_flags_that_they_were_printed_under() {
    let mut here = Installation::empty().await;
    let address = here.address.clone();
    here.unset("PORTCULLIS_LISTEN");
    let flags = ["--listen", &address, "--data-dir", "my data", "quickstart"];
    let said = here.succeeds(&flags);
    let server = here.starts_by(commands(&said)[0]);
    assert_eq!(server.setup_link(), None, "it is another installation: {said}");
    assert!(server.announcement.contains("my data/portcullis.db"), "{}", server.announcement);
    let revoke = here.pastes(commands(&said)[5]).success();
    assert!(revoke.contains("is revoked"), "{revoke}");
    assert!(!here.directory().join("data").exists());
}

// Migrations

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn migrate_brings_the_database_up_to_date_and_check_changes_nothing(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    for _ in 0..2 {
        let sentence = here.runs(&["migrate", "--check"]).sentence(1);
        assert!(sentence.contains("have not run"), "{sentence}");
    }
    here.succeeds(&["migrate"]);
    here.succeeds(&["migrate", "--check"]);
    let said = here.succeeds(&["migrate"]);
    assert!(said.contains("was up to date"), "{said}");
    here.starts();
}

// Lists, creating, revoking

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_lists_and_revokes_without_a_browser(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    here.is_set_up();
    let json = |arguments: &[&str]| -> Value {
        let text = here.succeeds(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let create = ["users", "create", "--email", "bob@example.com", "--name", "Bob", "--role"];
    let create = [&create[..], &["viewer", "--password-stdin", "--json"]].concat();
    let bob: Value = serde_json::from_str(&here.runs_with(PASSWORD, &create).success()).unwrap();
    assert_eq!(bob["email"], "bob@example.com");
    let sentence = here.runs_with(PASSWORD, &create).sentence(2);
    assert!(sentence.contains("account already"), "{sentence}");

    let api = json(&[
        "resource-servers",
        "create",
        "--audience",
        AUDIENCE,
        "--name",
        "Example API",
        "--algorithm",
        "EdDSA",
        "--scope",
        "read:tenants=See your tenants",
        "--scope",
        "write:tenants=Change your tenants",
    ]);
    let credential = api["credential"].as_str().unwrap();
    let importer = json(&[
        "clients",
        "create",
        "--name",
        "Importer",
        "--grant-type",
        "client_credentials",
        "--resource",
        AUDIENCE,
        "--scope",
        "write:tenants",
    ]);
    let [id, secret] = ["client_id", "client_secret"].map(|name| importer[name].as_str().unwrap());
    let key = json(&["api-keys", "create", "--name", "ci", "--scope", "read:tenants"]);
    let [key_id, key_secret] = ["id", "secret"].map(|name| key[name].as_str().unwrap());

    // No list ever shows a secret.
    for list in ["clients", "resource-servers", "api-keys"] {
        for arguments in [&[list, "list"][..], &[list, "list", "--json"]] {
            let shown = here.succeeds(arguments);
            for secret in [credential, secret, key_secret] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
    assert_eq!(json(&["users", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(json(&["clients", "list"])[0]["id"], id);
    assert_eq!(json(&["api-keys", "list"])[0]["status"], "active");
    assert_eq!(json(&["signing-keys", "list"]).as_array().unwrap().len(), 4);

    // A server that was started before sees what the command line does.
    let _server = here.starts();
    let token_endpoint = format!("{}/oauth/token", here.issuer());
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    let tokens = posts(&token_endpoint, &form).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let is_active = async |token: &str| {
        let question = http()
            .post(format!("{}/oauth/introspect", here.issuer()))
            .bearer_auth(credential)
            .form(&[("token", token)]);
        Answer::of(question.send().await.unwrap()).await.json["active"] == true
    };
    let token = tokens.member("access_token");
    assert!(is_active(token).await && is_active(key_secret).await);
    for arguments in [["clients", "revoke", id], ["api-keys", "revoke", key_id]] {
        here.succeeds(&arguments);
    }
    crate::harness::eventually(async || {
        !is_active(token).await
            && !is_active(key_secret).await
            && posts(&token_endpoint, &form).await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(json(&["api-keys", "list"])[0]["status"], "revoked");
    let again = here.runs(&["clients", "revoke", id]).sentence(1);
    assert!(again.contains("no client"), "{again}");
    here.succeeds(&["api-keys", "revoke", key_id]);

    let active = |keys: &Value| {
        let all = keys.as_array().unwrap().iter();
        let mut found: Vec<String> = all
            .filter(|key| key["state"] == "active" && key["algorithm"] == "ES256")
            .map(|key| key["id"].to_string())
            .collect();
        found.pop().unwrap()
    };
    let before = active(&json(&["signing-keys", "list"]));
    let rotated = json(&["signing-keys", "rotate"]);
    let now = active(&json(&["signing-keys", "list"]));
    assert_ne!(now, before);
    assert_eq!(rotated["active"].to_string(), now);
    assert_eq!(rotated["retiring"].to_string(), before);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_one_sentence_and_the_right_exit_code(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(here) = Installation::on(database).await else { return };
    let create_key = ["api-keys", "create", "--name", "ci", "--scope"];
    let create_key = |more: &[&'static str]| [&create_key[..], more].concat();
    let nobody = here.runs(&create_key(&["read:tenants"])).sentence(1);
    assert!(nobody.contains("portcullis setup"), "{nobody}");

    here.succeeds(&["quickstart"]);
    let client = ["clients", "create", "--name", "x", "--resource", AUDIENCE, "--scope"];
    let client = |more: &[&'static str]| [&client[..], more].concat();
    let callback = "--redirect-uri";
    let api = ["resource-servers", "create", "--audience"];
    let api = |more: &[&'static str]| [&api[..], more].concat();
    let unknown_key = "key_01j9zq4k2mfd8v6w3x5y7b1c0e";
    let unknown_client = "app_01j9zq4k2mfd8v6w3x5y7b1c0e";
    let at = "2001-01-01T00:00:00Z";
    for (arguments, code, words) in [
        (create_key(&["fly:tenants"]), 2, "no resource server offers"),
        (create_key(&["read tenants"]), 2, "is not a scope"),
        (create_key(&["read:tenants", "--environment", "moon"]), 2, "must be one of"),
        (create_key(&["read:tenants", "--expires-at", "tomorrow"]), 2, "expires_at"),
        (create_key(&["read:tenants", "--expires-at", at]), 2, "in the future"),
        (create_key(&["read:tenants", "--as", "eve@example.com"]), 1, "no such member"),
        (create_key(&["read:tenants", "--as", "\u{1}@\u{7f}"]), 1, "no such member"),
        (create_key(&["read:tenants", "--organization", "Moon"]), 1, "called Moon"),
        (vec!["api-keys", "revoke", unknown_key], 1, "no API key"),
        (vec!["clients", "revoke", unknown_client], 1, "no client"),
        (client(&["fly:tenants", callback, "https://a.example/"]), 2, "offers no scope"),
        (client(&["<", callback, "https://a.example/"]), 2, "scope can't be used"),
        (client(&["read:tenants", callback, "http://a.example/"]), 2, "must use https"),
        (client(&["read:tenants"]), 2, "needs at least one"),
        (
            client(&["read:tenants", "--public", "--grant-type", "client_credentials"]),
            2,
            "confidential",
        ),
        (
            vec![
                "clients",
                "create",
                "--name",
                "x",
                "--resource",
                "https://b.example",
                "--scope",
                "a",
            ],
            1,
            "no resource server",
        ),
        (api(&["nonsense", "--name", "x", "--scope", "read:a=See"]), 2, "absolute URI"),
        (api(&[AUDIENCE, "--name", "x", "--scope", "read:a=See"]), 2, "is taken"),
        (api(&["https://b.example", "--name", "x", "--scope", "read:a"]), 2, "and a sentence"),
        (api(&["https://b.example", "--name", "x", "--scope", "read:a="]), 2, "sentence"),
    ] {
        let sentence = here.runs(&arguments).sentence(code);
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
    }
    // What does not fit the grammar of the command line is clap's to refuse.
    for arguments in [
        &["api-keys", "revoke", "app_01j9zq4k2mfd8v6w3x5y7b1c0e"][..],
        &["clients", "revoke", "nonsense"],
        &["clients", "revoke", ""],
        &["users", "create", "--email", "a@b.c", "--name", "A", "--role", "king"],
        &["signing-keys", "rotate", "--algorithm", "HS256"],
        &["setup", "--email", "a@b.c", "--organization", "A"],
        &["fly"],
    ] {
        let outcome = here.runs(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_edited_imported_and_revoked_many_at_a_time(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(mut here) = Installation::on(database).await else { return };
    here.set("PORTCULLIS_API_KEYS__IMPORTED_PREFIXES", r#"["sk_old_"]"#);
    here.succeeds(&["quickstart"]);
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&here.succeeds(&[&["api-keys"], arguments].concat())).unwrap()
    };
    let limits = ["--label", "team=billing", "--allowed-ip", "192.0.2.0/24", "--brand", "pc"];
    let create = ["create", "--name", "ci", "--scope", "write:tenants", "--json"];
    let limits = [&limits[..], &["--requests-per-minute", "30"]].concat();
    let key = json(&[&create[..], &limits].concat());
    let id = key["id"].as_str().unwrap();
    assert_eq!(key["labels"], serde_json::json!({ "team": "billing" }));
    assert_eq!(key["allowed_ips"], serde_json::json!(["192.0.2.0/24"]));
    assert_eq!((&key["requests_per_minute"], &key["brand"]), (&30.into(), &"pc".into()));

    let narrower = ["edit", id, "--scope", "read:tenants"];
    let trial = json(&[&narrower[..], &["--dry-run"]].concat());
    assert_eq!(trial["key"]["scopes"][0], "read:tenants");
    assert_eq!(trial["would_lose"], serde_json::json!([]));
    let shown = &json(&["list", "--json"])[0];
    assert_eq!((&shown["id"], &shown["scopes"][0]), (&key["id"], &"write:tenants".into()));
    let open = ["--allowed-ip", "anywhere", "--requests-per-minute", "usual", "--expires-at"];
    let open = [&narrower[..], &open, &["2999-01-01T00:00:00Z", "--name", "x"]].concat();
    let edited = json(&open);
    assert_eq!((&edited["scopes"][0], &edited["name"]), (&"read:tenants".into(), &"x".into()));
    assert_eq!(edited["allowed_ips"].as_array().unwrap().len(), 2);
    assert_eq!(edited["requests_per_minute"], Value::Null);
    assert_eq!(edited["expires_at"], "2999-01-01T00:00:00Z");
    assert_eq!(json(&["edit", id, "--expires-at", "never"])["expires_at"], Value::Null);

    let rows = |hash: &str| {
        let row = serde_json::json!({
            "sha256": hash, "name": "old", "scopes": ["read:tenants"], "labels": { "team": "billing" },
        });
        serde_json::json!({ "prefix": "sk_old_", "keys": [row] }).to_string()
    };
    here.writes("keys.json", &rows(&"ab".repeat(32)));
    assert!(here.succeeds(&["api-keys", "import", "keys.json"]).starts_with("1 key(s) are"));
    let sentence = here.runs(&["api-keys", "import", "keys.json"]).sentence(2);
    assert!(sentence.contains("keys[0].sha256 is taken"), "{sentence}");
    here.writes("keys.json", "{\"keys\":[]}");
    let sentence = here.runs(&["api-keys", "import", "keys.json"]).sentence(2);
    assert!(sentence.contains("keys.json") && sentence.contains("prefix"), "{sentence}");
    let sentence = here.runs(&["api-keys", "import", "missing.json"]).sentence(2);
    assert!(sentence.contains("missing.json"), "{sentence}");

    let many = ["api-keys", "revoke-many", "--label", "team=billing", "--reason", "Gone"];
    let would = here.succeeds(&[&many[..], &["--dry-run"]].concat());
    assert!(would.starts_with("2 key(s) would be revoked.") && would.contains(id), "{would}");
    assert_eq!(json(&["list", "--json"])[1]["status"], "active");
    let revoked = here.succeeds(&many);
    assert!(revoked.starts_with("2 key(s) are revoked.") && revoked.contains(id), "{revoked}");
    let again: Value =
        serde_json::from_str(&here.succeeds(&[&many[..], &["--json"]].concat())).unwrap();
    assert_eq!(again["revoked"], 0);
    let keys = json(&["list", "--json"]);
    assert_eq!(
        (&keys[0]["status"], &keys[0]["revoked_reason"]),
        (&"revoked".into(), &"Gone".into())
    );
    let last = keys[2]["id"].as_str().unwrap();
    here.succeeds(&["api-keys", "revoke", last, "--reason", "It leaked"]);
    assert_eq!(json(&["list", "--json"])[2]["revoked_reason"], "It leaked");
    for (arguments, code, words) in [
        (&["revoke-many"][..], 2, "created_by"),
        (&["revoke-many", "--unused-days", "0"], 2, "unused_days"),
        (&["edit", id, "--name", "x"], 1, "not active"),
        (&["edit", "key_01j9zq4k2mfd8v6w3x5y7b1c0e", "--name", "x"], 1, "no API key"),
        (&["edit", id, "--requests-per-minute", "many"], 2, "requests_per_minute"),
        (&["create", "--name", "x", "--scope", "read", "--brand", "other"], 2, "brand"),
    ] {
        let sentence = here.runs(&[&["api-keys"], arguments].concat()).sentence(code);
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
    }
}

// A token on the command line

/// `portcullis token --no-browser`, which waits for its person.
struct Asking {
    child: Child,
    link: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Asking {
    fn begins(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.ends_with("state=\n") && !said.lines().any(|line| line.starts_with("http")) {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        let link = said.lines().last().unwrap().to_owned();
        Self { child, link, stderr }
    }

    /// The person opens the link and decides; their browser comes back to the command.
    async fn is_answered(&self, person: &Person, decision: &str) {
        let query: Vec<(String, String)> =
            url::Url::parse(&self.link).unwrap().query_pairs().into_owned().collect();
        let query: Vec<(&str, &str)> =
            query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let back = person.decides(&query, decision).await;
        assert_eq!(gets(&back.location).await.status, StatusCode::OK);
    }

    fn ends(mut self) -> Outcome {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Outcome { code, stdout, stderr }
    }
}

/// A client as the command line needs it, and the command that asks for it.
async fn command_line_client(world: &World) -> Application {
    world
        .registers(|new| {
            new.is_confidential = false;
            new.grant_types.retain(|it| it.as_str() != "client_credentials");
            new.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()];
        })
        .await
}

fn token_command(here: &Installation, world: &World, app: &Application, more: &[&str]) -> Command {
    let issuer = world.server.issuer.as_str();
    let arguments = ["--issuer", issuer, "token", "--client", &app.id, "--no-browser"];
    here.command(&[&arguments, more].concat())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_on_standard_output_and_nothing_else(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let here = Installation::empty().await;
    let app = command_line_client(&world).await;
    world.owner.logs_in().await;
    let more = ["--scope", "read:tenants", "--scope", "read:users", "--resource", AUDIENCE];
    let asking = Asking::begins(token_command(&here, &world, &app, &more));
    asking.is_answered(&world.owner, "allow").await;
    let token = asking.ends().success();
    assert_eq!(claims(token.trim())["scope"], "read:tenants read:users");
    let answer = introspect(&world.server, &world.credential, token.trim()).await;
    assert_eq!(answer.json["active"], true, "{answer:?}");

    let asking = Asking::begins(token_command(&here, &world, &app, &["--json"]));
    asking.is_answered(&world.owner, "allow").await;
    let tokens: Value = serde_json::from_str(&asking.ends().success()).unwrap();
    assert_eq!(claims(tokens["access_token"].as_str().unwrap())["scope"], "read:tenants");
    let refreshed = app.refreshes(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    assert!(!here.directory().join("data").exists(), "the command needs no database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confidential_client_gets_its_token_with_a_secret_from_standard_input() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let here = Installation::empty().await;
    let app = world
        .registers(|new| new.redirect_uris = vec!["http://127.0.0.1/callback".to_owned()])
        .await;
    world.owner.logs_in().await;
    for (secret, code) in [(app.secret.clone().unwrap(), 0), ("wrong".to_owned(), 1)] {
        let mut command = token_command(&here, &world, &app, &["--client-secret-stdin"]);
        let file = here.directory().join("secret");
        std::fs::write(&file, &secret).unwrap();
        command.stdin(std::fs::File::open(file).unwrap());
        let asking = Asking::begins(command);
        asking.is_answered(&world.owner, "allow").await;
        let outcome = asking.ends();
        assert!(!outcome.stderr.contains(&secret) || secret == "wrong", "{outcome:?}");
        if code == 0 {
            assert_eq!(claims(outcome.success().trim())["client_id"], app.id);
        } else {
            let sentence = outcome.sentence(1);
            assert!(sentence.contains("invalid_client"), "{sentence}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_the_token_command_with_a_sentence() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let here = Installation::empty().await;
    let app = command_line_client(&world).await;
    world.owner.logs_in().await;
    let asking = Asking::begins(token_command(&here, &world, &app, &[]));
    asking.is_answered(&world.owner, "deny").await;
    let outcome = asking.ends();
    assert_eq!(outcome.stdout, "");
    let sentence = outcome.sentence(1);
    assert!(sentence.contains("access_denied"), "{sentence}");

    let asking = Asking::begins(token_command(&here, &world, &app, &["--scope", "fly:tenants"]));
    asking.is_answered(&world.owner, "allow").await;
    let sentence = asking.ends().sentence(1);
    assert!(sentence.contains("invalid_scope"), "{sentence}");

    // Somebody else's page sends the browser to the callback with an answer of its own.
    let asking = Asking::begins(token_command(&here, &world, &app, &[]));
    let link = url::Url::parse(&asking.link).unwrap();
    let callback = link.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1;
    gets(&format!("{callback}?code=abc&state=guessed&iss={}", world.server.issuer)).await;
    let sentence = asking.ends().sentence(1);
    assert!(sentence.contains("not to our question"), "{sentence}");
}

// Help

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_an_example() {
    let here = Installation::empty().await;
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(words) = commands.pop() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = here.succeeds(&arguments);
        let below = help.split("Commands:\n").nth(1).unwrap_or_default();
        let below: Vec<&str> = below
            .lines()
            .take_while(|line| line.starts_with("  "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .collect();
        for name in &below {
            commands.push([&words[..], &[(*name).to_owned()]].concat());
        }
        let program = format!("portcullis {}", words.join(" "));
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains(program.trim()), "{program} has no example: {help}");
        seen += 1;
    }
    assert!(seen >= 25, "only {seen} commands were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_get_their_completions() {
    let here = Installation::empty().await;
    for shell in ["bash", "zsh", "fish"] {
        let script = here.succeeds(&["completions", shell]);
        assert!(script.contains("quickstart") && script.contains("api-keys"), "{shell}: {script}");
    }
    // A reader that has seen enough closes the pipe; that is no failure of ours.
    let outcome = here.pastes(&format!("{BINARY} completions bash | head -1"));
    assert_eq!(outcome.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_the_servers_flags_leaves_its_audience_alone() {
    let mut here = Installation::empty().await;
    here.is_set_up();
    let audience = |here: &Installation| {
        let text = here.succeeds(&["resource-servers", "list", "--json"]);
        let all: Value = serde_json::from_str(&text).unwrap();
        all[0]["audience"].as_str().unwrap().to_owned()
    };
    here.set("PORTCULLIS_ISSUER", "https://auth.example.com");
    here.starts();
    here.unset("PORTCULLIS_ISSUER");
    assert_eq!(audience(&here), "https://auth.example.com");
    here.starts();
    assert_eq!(audience(&here), here.issuer(), "a server knows best who it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_for_migrations_makes_no_database() {
    let here = Installation::empty().await;
    let sentence = here.runs(&["migrate", "--check"]).sentence(1);
    assert!(sentence.contains("have not run yet"), "{sentence}");
    assert!(!here.directory().join("data").exists());
}
