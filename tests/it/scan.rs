//! `portcullis scan`, as people, hooks and build servers run it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_verifier::key;
use reqwest::StatusCode;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::installation::BINARY;
use crate::harness::services::missing;
use crate::harness::{Database, Installation, Outcome, World, eventually};

/// A credential with this prefix, as the server makes it.
fn credential(prefix: &str) -> String {
    key::generate(&prefix.parse().unwrap()).unwrap().expose_secret().to_owned()
}

fn hint(secret: &str) -> String {
    format!("{}…{}", &secret[..12], &secret[secret.len() - 4..])
}

/// What a search that found something said; never more of a secret than people recognise it by.
#[track_caller]
fn found(outcome: &Outcome, secrets: &[&str]) -> String {
    assert_eq!(outcome.code, 1, "{outcome:?}");
    for secret in secrets {
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains(&secret[13..secret.len() - 5]), "{said}");
        assert!(outcome.stdout.contains(&hint(secret)), "{} is not in {said}", hint(secret));
    }
    outcome.stdout.clone()
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

// Files and streams

#[tokio::test(flavor = "multi_thread")]
async fn what_leaked_is_told_with_its_place_and_nothing_else_is() {
    let here = Installation::empty().await;
    let (key, secret, server) = (credential("pc_live"), credential("pc_cs"), credential("pc_rs"));
    std::fs::create_dir_all(here.directory().join("tree/.git")).unwrap();
    std::fs::create_dir_all(here.directory().join("tree/config")).unwrap();
    std::fs::create_dir_all(here.directory().join("elsewhere")).unwrap();
    here.writes("tree/.gitignore", ".env\n");
    here.writes("tree/.env", &format!("A=1\n  KEY={key}\n"));
    here.writes("tree/config/app.toml", &format!("secret = '{secret}' # {server}"));
    here.writes("tree/harmless.txt", &key.replace("pc_live", "pc_test"));
    here.writes("tree/.git/config", &key);
    here.writes("elsewhere/key", &key);
    std::os::unix::fs::symlink("../elsewhere", here.directory().join("tree/link")).unwrap();
    std::os::unix::fs::symlink("..", here.directory().join("tree/round")).unwrap();
    let mut binary = vec![0, 0xff, b'\n', 0xfe];
    binary.extend(key.as_bytes());
    binary.extend([0; 100]);
    std::fs::write(here.directory().join("tree/image.bin"), binary).unwrap();

    let outcome = here.runs(&["scan", "tree"]);
    let said = found(&outcome, &[&key, &secret, &server]);
    let column = 11 + secret.len() + 4;
    assert_eq!(
        said,
        format!(
            "tree/.env:2:7: API key {key}\n\
             tree/config/app.toml:1:11: client secret {secret}\n\
             tree/config/app.toml:1:{column}: resource server credential {server}\n\
             tree/image.bin:2:2: API key {key}\n",
            key = hint(&key),
            secret = hint(&secret),
            server = hint(&server),
        )
    );
    assert_eq!(outcome.stderr, "");
    // What is named is meant, be it a link.
    found(&here.runs(&["scan", "tree/link"]), &[&key]);
    found(&here.runs(&["scan", "tree/.git/config"]), &[&key]);
    let said = here.succeeds(&["scan", "tree/harmless.txt", "tree/.gitignore"]);
    assert!(said.starts_with("Nothing found in 2 file(s)"), "{said}");
    assert!(!here.directory().join("data").exists(), "searching makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_searched_as_a_file_is() {
    let here = Installation::empty().await;
    let key = credential("pc_live");
    let text = format!("{}\n\nAuthorization: Bearer {key}\n", "x".repeat(3_000_000));
    let said = found(&here.runs_with(&text, &["scan", "-"]), &[&key]);
    assert_eq!(said, format!("-:3:23: API key {}\n", hint(&key)));
    here.runs_with("nothing", &["scan", "-"]).success();
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_are_found_by_their_form() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    let app = world.registers(|_| ()).await;
    world.owner.logs_in().await;
    let code = world.owner.approves(&app, "read:tenants").await;
    let tokens = app.redeems(&code).await;
    let token = tokens.member("refresh_token");
    let here = Installation::empty().await;
    let said = found(&here.runs_with(&format!("rt={token}&"), &["scan", "-"]), &[token]);
    assert_eq!(said, format!("-:1:4: refresh token {}\n", hint(token)));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_brands_in_force_are_looked_for_or_those_that_are_named() {
    let mut here = Installation::empty().await;
    let prefixes = ["pc_live", "op365_sk_live", "op365_sk_cs", "ops0_live", "apvk", "apvk_older"];
    let secrets: BTreeMap<&str, String> =
        prefixes.into_iter().map(|prefix| (prefix, credential(prefix))).collect();
    here.writes("leak", &secrets.values().cloned().collect::<Vec<_>>().join("\n"));
    let finds = |here: &Installation, flags: &[&str], wanted: &[&str]| {
        let outcome = here.runs(&[&["scan", "leak"], flags].concat());
        let wanted: Vec<&str> = wanted.iter().map(|prefix| secrets[prefix].as_str()).collect();
        let said = found(&outcome, &wanted);
        assert_eq!(said.lines().count(), wanted.len(), "{said}");
    };
    finds(&here, &[], &["pc_live"]);
    finds(&here, &["--brand", "apvk", "--brand", "ops0"], &["apvk", "apvk_older", "ops0_live"]);
    here.writes("portcullis.toml", "brand = 'op365_sk'\nfurther_brands = ['ops0', 'pc']\n");
    finds(&here, &[], &["op365_sk_live", "op365_sk_cs", "ops0_live", "pc_live"]);
    finds(&here, &["--brand", "pc"], &["pc_live"]);

    // Where brands are named, the configuration is not asked.
    here.set("PORTCULLIS_NO_SUCH_SETTING", "1");
    finds(&here, &["--brand", "pc"], &["pc_live"]);
    let sentence = here.runs(&["scan", "leak"]).sentence(2);
    assert!(sentence.contains("PORTCULLIS_NO_SUCH_SETTING"), "{sentence}");
    let sentence = here.runs(&["scan", "leak", "--brand", "P-C"]).sentence(2);
    assert!(sentence.contains("`P-C` is no brand"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_said_and_the_rest_is_searched() {
    let here = Installation::empty().await;
    let key = credential("pc_live");
    here.writes("leak", &key);
    here.writes("clean", "");
    let sentence = here.runs(&["scan", "missing", "clean"]).sentence(2);
    assert!(sentence.contains("can't read missing"), "{sentence}");
    // It can be opened, and reading it fails.
    let sentence = here.runs(&["scan", "/proc/self/mem"]).sentence(2);
    assert!(sentence.contains("/proc/self/mem"), "{sentence}");
    let outcome = here.runs(&["scan", "missing", "leak", "--format", "json"]);
    found(&outcome, &[&key]);
    assert!(outcome.stderr.contains("can't read missing"), "{outcome:?}");
    let report = json_of(&outcome);
    assert_eq!(report["unreadable"][0]["what"], "missing");
    assert_eq!(report["is_complete"], false);

    for arguments in [&["scan"][..], &["scan", "--format", "xml", "leak"], &["scan", "--server"]] {
        let outcome = here.runs(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
    }
    let outcome = here.runs(&["scan", "--gitleaks-config", "leak"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
}

// What scripts read

#[tokio::test(flavor = "multi_thread")]
async fn json_has_all_that_is_known_of_a_finding() {
    let here = Installation::empty().await;
    let key = credential("pc_live");
    here.writes("a.env", &format!("ü {key}"));
    let outcome = here.runs(&["scan", "a.env", "--format", "json"]);
    found(&outcome, &[&key]);
    let digest: String = key::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        json_of(&outcome),
        json!({
            "findings": [{
                "source": "file", "path": "a.env", "commit": null, "blob": null,
                "line": 1, "column": 3, "offset": 3,
                "kind": "api_key", "secret": hint(&key), "sha256": digest, "state": null,
            }],
            "unreadable": [],
            "sources": 1,
            "bytes": key.len() + 3,
            "is_complete": true,
        })
    );
    here.writes("clean", "");
    let report: Value =
        serde_json::from_str(&here.succeeds(&["scan", "clean", "--format", "json"])).unwrap();
    assert_eq!(report["findings"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sarif_names_rule_place_and_fingerprint() {
    let here = Installation::empty().await;
    let (key, secret) = (credential("pc_live"), credential("pc_cs"));
    std::fs::create_dir(here.directory().join("my dir")).unwrap();
    here.writes("my dir/ü.env", &format!("\nKEY={key}\nSECRET={secret}\n"));
    let outcome = here.runs(&["scan", "./my dir", "missing", "--format", "sarif"]);
    found(&outcome, &[&key, &secret]);
    let log = json_of(&outcome);
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["$schema"], "https://json.schemastore.org/sarif-2.1.0.json");
    let run = &log["runs"][0];
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let told = &run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
    assert!(told.as_str().unwrap().contains("missing"), "{told}");
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "Portcullis");
    let rules = driver["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, (rule, line, column, secret)) in results
        .iter()
        .zip([("leaked-api-key", 2, 5, &key), ("leaked-client-secret", 3, 8, &secret)])
    {
        assert_eq!(result["ruleId"], rule);
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], rule);
        assert_eq!(result["level"], "error");
        assert!(result["message"]["text"].as_str().unwrap().contains(&hint(secret)));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "my%20dir/%C3%BC.env");
        let end = column + secret.len();
        let region =
            json!({ "startLine": line, "startColumn": column, "endLine": line, "endColumn": end });
        assert_eq!(place["region"], region);
        let digest: String = key::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(result["partialFingerprints"], json!({ "secretSha256/v1": digest }));
    }
    let absolute = here.directory().join("my dir/ü.env");
    let outcome = here.runs(&["scan", absolute.to_str().unwrap(), "--format", "sarif"]);
    let place = &json_of(&outcome)["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().starts_with("file:///"), "{place}");
}

// The history of a repository

/// A repository in the directory `repository`.
struct Repository<'i>(&'i Installation);

impl<'i> Repository<'i> {
    fn new(here: &'i Installation) -> Self {
        here.pastes("git init -q -b main repository").success();
        let repository = Self(here);
        repository.git("config user.name Ada && git config user.email ada@example.com");
        repository
    }

    /// What git answers.
    fn git(&self, arguments: &str) -> String {
        let line = format!("cd repository && git {arguments}");
        self.0.pastes(&line).success().trim().to_owned()
    }

    fn writes(&self, file: &str, text: &str) {
        let file = self.0.directory().join("repository").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn commits(&self, message: &str) -> String {
        self.git(&format!("add -A && git commit -q --allow-empty -m '{message}'"));
        self.git("rev-parse HEAD")
    }
}

/// Source, commit, path, line and hint.
type Told = (String, Option<String>, Option<String>, u64, String);

fn findings(outcome: &Outcome) -> BTreeSet<Told> {
    let report = json_of(outcome);
    let text = |it: &Value| it.as_str().map(str::to_owned);
    let found = report["findings"].as_array().unwrap();
    let all: BTreeSet<_> = found
        .iter()
        .map(|it| {
            let line = it["line"].as_u64().unwrap();
            (
                text(&it["source"]).unwrap(),
                text(&it["commit"]),
                text(&it["path"]),
                line,
                text(&it["secret"]).unwrap(),
            )
        })
        .collect();
    assert_eq!(all.len(), found.len(), "something was told twice: {report}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_once_is_found_with_the_commit_that_brought_it() {
    let mut here = Installation::empty().await;
    let names =
        ["first", "branch", "message", "tag", "stash", "staged", "reset", "merged", "worktree"];
    let keys: BTreeMap<&str, String> =
        names.into_iter().map(|name| (name, credential("pc_live"))).collect();
    let repository = Repository::new(&here);
    repository.writes("readme", "harmless");
    repository.commits("Begin");
    repository.writes("my config/ä.env", &format!("A=1\nKEY={}\n", keys["first"]));
    let first = repository.commits("Configure");
    repository.git("rm -q -r 'my config'");
    repository.commits("Take it away");
    // The very same file again, elsewhere: told once, of the commit that came first.
    repository.writes("again.env", &format!("A=1\nKEY={}\n", keys["first"]));
    repository.commits("Again");
    repository.git("checkout -q -b branch");
    repository.writes("branch.env", &keys["branch"]);
    let branch = repository.commits("On a branch");
    repository.git("checkout -q main");
    repository.writes("other", "x");
    let message = repository.commits(&format!("Say it\n\nuse {}", keys["message"]));
    // What a merge itself brought.
    repository.git("merge -q --no-commit branch");
    repository.writes("merged.env", &keys["merged"]);
    let merge = repository.commits("Merge");
    repository.git(&format!("tag -a v1 -m 'Release\n\n{}'", keys["tag"]));
    repository.git("tag light");
    let tag = repository.git("rev-parse v1");
    repository.writes("reset.env", &keys["reset"]);
    let reset = repository.commits("To be reset");
    repository.git("reset -q --hard HEAD~1");
    repository.writes("other", &keys["stash"]);
    repository.git("stash -q");
    let stash = repository.git("rev-parse stash@{0}");
    repository.writes("staged.env", &keys["staged"]);
    repository.git("add staged.env");
    repository.writes("loose.env", &keys["worktree"]);

    let expected = |here: &Installation, arguments: &[&str]| {
        let outcome = here.runs(&[&["scan", "--format", "json"], arguments].concat());
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("git_blob", some(&first), some("my config/ä.env"), 2, "first"),
            ("git_blob", some(&branch), some("branch.env"), 1, "branch"),
            ("git_blob", some(&merge), some("merged.env"), 1, "merged"),
            ("git_blob", some(&reset), some("reset.env"), 1, "reset"),
            ("git_blob", some(&stash), some("other"), 1, "stash"),
            ("git_blob", None, some("staged.env"), 1, "staged"),
            ("git_commit_message", some(&message), None, 3, "message"),
            ("git_tag_message", some(&tag), None, 3, "tag"),
        ];
        let expected: BTreeSet<_> = expected
            .into_iter()
            .map(|(source, commit, path, line, key)| {
                (source.to_owned(), commit, path, line, hint(&keys[key]))
            })
            .collect();
        assert_eq!(findings(&outcome), expected, "{}", outcome.stderr);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    };
    expected(&here, &["--git", "repository"]);
    expected(&here, &["--git", "repository/.git"]);
    let text = found(&here.runs(&["scan", "--git", "repository"]), &[&keys["first"]]);
    let (first, message) = (&first[..12], &message[..12]);
    assert!(text.contains(&format!("{first}:my config/ä.env:2:5: API key ")), "{text}");
    assert!(text.contains(&format!("commit {message}:3:5: API key ")), "{text}");
    assert!(text.contains("(in no commit):staged.env:1:1: API key "), "{text}");
    let outcome = here.runs(&["scan", "--git", "repository", "--format", "sarif"]);
    found(&outcome, &[&keys["tag"]]);

    // A hook of another repository finds these set.
    here.set("GIT_DIR", "/nowhere");
    here.set("GIT_INDEX_FILE", "/nowhere/index");
    expected(&here, &["--git", "repository"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_git_or_a_repository_a_plain_sentence_says_so() {
    let mut here = Installation::empty().await;
    let sentence = here.runs(&["scan", "--git"]).sentence(2);
    assert!(sentence.contains("git says of .: not a git repository"), "{sentence}");
    let sentence = here.runs(&["scan", "--git", "missing"]).sentence(2);
    assert!(sentence.contains("missing"), "{sentence}");
    let key = credential("pc_live");
    here.writes("leak", &key);
    let outcome = here.runs(&["scan", "leak", "--git", "."]);
    found(&outcome, &[&key]);
    assert!(outcome.stderr.contains("not a git repository"), "{outcome:?}");
    here.set("PATH", "/nowhere");
    let sentence = here.runs(&["scan", "--git"]).sentence(2);
    assert!(sentence.contains("git is not installed"), "{sentence}");

    here.unset("PATH");
    here.pastes("git init -q empty").success();
    let said = here.succeeds(&["scan", "--git", "empty"]);
    assert!(said.starts_with("Nothing found"), "{said}");
}

// Asking the server

/// A server that notes what it is asked.
#[derive(Clone, Default)]
struct Recorder {
    answers: Arc<Mutex<BTreeMap<String, StatusCode>>>,
    asked: Arc<Mutex<Vec<String>>>,
    revoked: Arc<Mutex<Vec<Value>>>,
    on_revocation: Arc<Mutex<StatusCode>>,
}

impl Recorder {
    async fn starts(&self) -> String {
        async fn me(State(it): State<Recorder>, headers: HeaderMap) -> StatusCode {
            let header = headers["authorization"].to_str().unwrap();
            let credential = header.strip_prefix("Bearer ").unwrap().to_owned();
            let answer = it.answers.lock().unwrap()[&credential];
            it.asked.lock().unwrap().push(credential);
            answer
        }
        async fn revoke(State(it): State<Recorder>, Json(body): Json<Value>) -> StatusCode {
            it.revoked.lock().unwrap().push(body);
            *it.on_revocation.lock().unwrap()
        }
        *self.on_revocation.lock().unwrap() = StatusCode::ACCEPTED;
        let router = Router::new()
            .route("/auth/v1/me", get(me))
            .route("/auth/v1/credentials:revoke", post(revoke))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/auth", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }

    fn answers(&self, credential: &str, status: StatusCode) {
        self.answers.lock().unwrap().insert(credential.to_owned(), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_api_key_is_asked_about_once_and_nothing_else_is() {
    let mut here = Installation::empty().await;
    let recorder = Recorder::default();
    let server = recorder.starts().await;
    let keys: Vec<String> = (0..4).map(|_| credential("pc_live")).collect();
    let secret = credential("pc_cs");
    for (key, status) in keys.iter().zip([200, 403, 401, 500]) {
        recorder.answers(key, StatusCode::from_u16(status).unwrap());
    }
    let text = format!("{}\n{secret}\n{}\n", keys.join("\n"), keys[0]);
    let outcome = here.runs_with(&text, &["scan", "-", "--check", "--server", &server]);
    let secrets: Vec<&str> = keys.iter().chain([&secret]).map(String::as_str).collect();
    let said = found(&outcome, &secrets);
    let states: Vec<&str> = said.lines().map(|line| line.split(", ").nth(1).unwrap()).collect();
    assert_eq!(
        states,
        ["live", "live", "not accepted from here", "unknown", "unknown", "live"],
        "{said}"
    );
    assert!(outcome.stderr.contains("it answered 500"), "{outcome:?}");
    let mut asked = recorder.asked.lock().unwrap().clone();
    asked.sort();
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(asked, expected);
    assert!(recorder.revoked.lock().unwrap().is_empty());

    // By default it is the configured issuer that is asked.
    here.set("PORTCULLIS_ISSUER", &server);
    let outcome = here.runs_with(&keys[2], &["scan", "-", "--check", "--format", "json"]);
    assert_eq!(json_of(&outcome)["findings"][0]["state"], "not_accepted_from_here");
    let outcome = here.runs_with(&keys[2], &["scan", "-", "--check", "--format", "sarif"]);
    assert_eq!(json_of(&outcome)["runs"][0]["results"][0]["level"], "warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_found_is_handed_over_to_be_revoked_each_once() {
    let here = Installation::empty().await;
    let recorder = Recorder::default();
    let server = recorder.starts().await;
    let credentials: BTreeSet<String> =
        (0..600).map(|_| credential("pc_live")).chain([credential("pc_cs")]).collect();
    let list: Vec<&str> = credentials.iter().map(String::as_str).collect();
    let text = format!("{}\n{}", list.join("\n"), list[0]);
    let flags = ["scan", "-", "--revoke", "--server", &server];
    let outcome = here.runs_with(&text, &flags);
    found(&outcome, &list);
    assert_eq!(outcome.stdout.lines().count(), 602);
    assert!(outcome.stderr.contains("601 credential(s) were handed to "), "{}", outcome.stderr);
    let bodies = recorder.revoked.lock().unwrap().clone();
    assert!(bodies.iter().all(|body| body.to_string().len() < 64 * 1024));
    let mut told = Vec::new();
    for body in &bodies {
        assert_eq!(body.as_object().unwrap().len(), 1);
        let batch = body["credentials"].as_array().unwrap();
        assert!(batch.len() <= 1000);
        told.extend(batch.iter().map(|it| it.as_str().unwrap().to_owned()));
    }
    assert_eq!(told.len(), 601);
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), credentials);

    // Nothing found, nothing handed over.
    recorder.revoked.lock().unwrap().clear();
    here.runs_with("harmless", &flags).success();
    assert!(recorder.revoked.lock().unwrap().is_empty());

    // What did not happen is not passed over: the report stands, and the exit code is another.
    *recorder.on_revocation.lock().unwrap() = StatusCode::TOO_MANY_REQUESTS;
    let outcome = here.runs_with(list[0], &flags);
    assert!(outcome.stdout.contains(&hint(list[0])), "{outcome:?}");
    let sentence = outcome.sentence(2);
    assert!(sentence.contains("0 of 1") && sentence.contains("429"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_be_asked_is_named() {
    let here = Installation::empty().await;
    let key = credential("pc_live");
    for url in ["http://auth.example.com", "auth.example.com"] {
        for flag in ["--check", "--revoke"] {
            let outcome = here.runs_with(&key, &["scan", "-", flag, "--server", url]);
            assert!(outcome.sentence(2).contains("--server must be an https URL"));
        }
    }
    // Nobody listens at the address of this test.
    let nobody = here.issuer();
    let outcome = here.runs_with(&key, &["scan", "-", "--check", "--server", &nobody]);
    assert!(found(&outcome, &[&key]).contains(", unknown"), "{outcome:?}");
    assert!(outcome.stderr.contains(&nobody), "{outcome:?}");
    let outcome = here.runs_with(&key, &["scan", "-", "--revoke", "--server", &nobody]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("0 of 1 credentials"), "{outcome:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_real_server_says_what_is_live_and_ends_it(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let here = Installation::empty().await;
    let (key, other) = (world.api_key(&["read:tenants"]).await, credential("pc_live"));
    let address = world.server.address.clone();
    let states = async || {
        let text = format!("{}\n{other}", key.secret);
        let outcome = here.runs_with(&text, &["scan", "-", "--check", "--server", &address]);
        let said = found(&outcome, &[&key.secret, &other]);
        let states = said.lines().map(|line| line.split(", ").nth(1).unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["live", "not accepted from here"]);
    // Whoever found it needs nothing else to end it, which happens right after the answer.
    let ends = ["scan", "-", "--revoke", "--server", &address];
    let outcome = here.runs_with(&key.secret, &ends);
    found(&outcome, &[&key.secret]);
    assert!(outcome.stderr.contains("1 credential(s) were handed to "), "{outcome:?}");
    eventually(async || states().await == ["not accepted from here"; 2]).await;
}

// In others' tools

/// Whether gitleaks can be run.
fn has_gitleaks() -> bool {
    let is_there = Command::new("gitleaks").arg("version").output().is_ok();
    if !is_there && std::env::var_os("PORTCULLIS_TEST_WITHOUT_GITLEAKS").is_some() {
        eprintln!("skipped: gitleaks can't be had here");
    } else if !is_there {
        missing("gitleaks", "install Debian's package gitleaks, of Debian 13 or later");
    }
    is_there
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gitleaks_finds_by_our_rules_what_we_find() {
    if !has_gitleaks() {
        return;
    }
    let here = Installation::empty().await;
    let brands = ["--brand", "op365_sk", "--brand", "ops0", "--brand", "apvk"];
    let rules = here.succeeds(&[&["scan", "--gitleaks-config"][..], &brands].concat());
    here.writes("rules.toml", &rules);
    std::fs::create_dir(here.directory().join("tree")).unwrap();
    let prefixes = ["op365_sk_live", "op365_sk_cs", "ops0_rs", "ops0_live", "apvk", "apvk_a_b"];
    let secrets: BTreeSet<String> = prefixes.into_iter().map(credential).collect();
    let mut text = String::new();
    for secret in &secrets {
        text.push_str(&format!("key = \"{secret}\";\n"));
    }
    let body = "Zz9".repeat(20);
    for other in [
        credential("pc_live"),
        format!("x{}", credential("apvk")),
        format!("apvk_{}", "a".repeat(40)),
        format!("apvk_live_{body}"),
        "apvk_live_a_function_of_a_very_long_name_that_is_no_key()".to_owned(),
    ] {
        text.push_str(&format!("key = \"{other}\";\n"));
    }
    here.writes("tree/leak.txt", &text);
    let run = "gitleaks detect --no-banner --no-git --source tree --config rules.toml \
               --report-format json --report-path leaks.json";
    let outcome = here.pastes(run);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let told = std::fs::read_to_string(here.directory().join("leaks.json")).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let told = told.as_array().unwrap();
    let found: BTreeSet<String> =
        told.iter().map(|it| it["Secret"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, secrets);
    let by_rule = |rule: &str| told.iter().filter(|it| it["RuleID"] == rule).count();
    assert_eq!(by_rule("portcullis-op365-sk"), 2);
    assert_eq!(by_rule("portcullis-ops0"), 2);
    assert_eq!(by_rule("portcullis-apvk"), 2);
    let ours = here.runs(&[&["scan", "tree", "--format", "json"][..], &brands].concat());
    let count = json_of(&ours)["findings"].as_array().unwrap().len();
    // We find what is glued to something, too.
    assert_eq!(count, secrets.len() + 1);
}

/// The block of the guide that begins with this line.
fn block_of_the_guide(first_line: &str) -> String {
    let page = include_str!("../../docs/guides/find-leaked-keys.md");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find_map(|it| {
        let (_, text) = it.split_once('\n')?;
        text.starts_with(first_line).then(|| text.to_owned())
    });
    block.unwrap_or_else(|| panic!("the guide has no block that begins with {first_line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_of_the_guide_keeps_keys_out_of_commits() {
    let mut here = Installation::empty().await;
    let directory = Path::new(BINARY).parent().unwrap().to_str().unwrap().to_owned();
    here.set("PATH", &format!("{directory}:{}", std::env::var("PATH").unwrap()));
    let key = credential("acme_live");
    let repository = Repository::new(&here);
    repository.writes("old name", &format!("{key}\n"));
    let before = repository.commits("Before there was a hook");
    repository.writes(".git/hooks/pre-commit", &block_of_the_guide("#!/bin/sh\n# pre-commit"));
    here.pastes("chmod +x repository/.git/hooks/pre-commit").success();

    repository.writes("a file", "harmless");
    assert_ne!(repository.commits("Without a key"), before);
    repository.writes("a file", &format!("KEY={key}"));
    repository.git("add -A");
    let refused = here.pastes("cd repository && git commit -q -m 'With a key'");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(
        refused.stderr.contains("a file:1:5: API key")
            || refused.stdout.contains("a file:1:5: API key"),
        "{refused:?}"
    );
    // What takes a key away passes.
    repository.git("checkout -q HEAD -- 'a file' && git rm -q 'old name'");
    let outcome = here.pastes("cd repository && git commit -q -m 'Take it away'");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
