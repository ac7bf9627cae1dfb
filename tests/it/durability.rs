//! `kill -9` right after a success answer: what was promised is there after a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::json;

use crate::harness::actors::http;
use crate::harness::process::{Installation, Process};
use crate::harness::world::{AUDIENCE, PASSWORD, REDIRECT_URI};
use crate::harness::{Answer, Application, Database, Person, eventually};

const OWNER: &str = "ada@example.com";

/// What `portcullis` made before the server was started for the first time.
struct Company {
    installation: Installation,
    /// The API's credential, to introspect with.
    credential: String,
    client: (String, String),
    /// The secret of a key that may do everything.
    admin: String,
}

impl Company {
    async fn on(database: Database) -> Option<Self> {
        let installation = Installation::on(database).await?;
        let tells = |arguments: &[&str], input: &str| installation.tells(arguments, input);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let setup = ["setup", "--email", OWNER, "--organization", "Example", "--password-stdin"];
        tells(&setup, PASSWORD);
        let api = tells(
            &[
                ["resource-servers", "create", "--audience", AUDIENCE].as_slice(),
                &["--name", "Example API", "--scope", "read:tenants=See your tenants"],
            ]
            .concat(),
            "",
        );
        let client = tells(
            &[
                ["clients", "create", "--name", "Dashboard", "--resource", AUDIENCE].as_slice(),
                &["--redirect-uri", REDIRECT_URI, "--scope", "read:tenants"],
            ]
            .concat(),
            "",
        );
        let key = tells(&["api-keys", "create", "--name", "admin", "--scope", "admin"], "");
        Some(Self {
            credential: text(&api["credential"]),
            client: (text(&client["client_id"]), text(&client["client_secret"])),
            admin: text(&key["secret"]),
            installation,
        })
    }

    /// Starts the server; whoever used the one before uses this one.
    async fn opens(&self) -> Open<'_> {
        let process = self.installation.starts().await;
        let (id, secret) = self.client.clone();
        let app = Application::at(&process.address, id, Some(secret), REDIRECT_URI.to_owned());
        Open { company: self, app, process }
    }
}

/// The company, while its server runs.
struct Open<'a> {
    company: &'a Company,
    app: Application,
    process: Process,
}

impl<'a> Open<'a> {
    /// Kills the server on the spot and starts it anew.
    async fn killed_and_restarted(self) -> Open<'a> {
        self.process.killed();
        self.company.opens().await
    }

    async fn code(&self) -> String {
        let owner = Person::at(&self.process.address, OWNER, PASSWORD);
        owner.approves(&self.app, "read:tenants").await
    }

    async fn tokens(&self) -> Answer {
        let tokens = self.app.redeems(&self.code().await).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        tokens
    }

    async fn is_active(&self, credential: &str) -> bool {
        let request = http()
            .post(format!("{}/oauth/introspect", self.process.address))
            .bearer_auth(&self.company.credential)
            .form(&[("token", credential)]);
        let told = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(told.status, StatusCode::OK, "{told:?}");
        told.json["active"].as_bool().unwrap()
    }

    async fn jwks(&self) -> String {
        let url = format!("{}/oauth/jwks", self.process.address);
        http().get(url).send().await.unwrap().text().await.unwrap()
    }

    fn administrator(&self) -> Administrator {
        let (address, admin) = (self.process.address.clone(), self.company.admin.clone());
        Administrator { address, admin, http: http() }
    }
}

/// A script with a key that may make keys.
#[derive(Clone)]
struct Administrator {
    address: String,
    admin: String,
    http: reqwest::Client,
}

impl Administrator {
    /// Makes a key: its id and secret, if that was acknowledged.
    async fn makes_a_key(&self) -> Option<(String, String)> {
        let request = self.http.post(format!("{}/v1/api-keys", self.address));
        let wanted = json!({ "name": "script", "scopes": ["read:tenants"] });
        let response = request.bearer_auth(&self.admin).json(&wanted).send().await.ok()?;
        if response.status() != StatusCode::CREATED {
            return None;
        }
        // The status is the promise; without the body there is nothing to hold it against.
        let made: serde_json::Value = response.json().await.ok()?;
        Some((made["id"].as_str()?.to_owned(), made["secret"].as_str()?.to_owned()))
    }

    /// Whether the revocation was acknowledged.
    async fn revokes(&self, id: &str) -> bool {
        let request = self.http.delete(format!("{}/v1/api-keys/{id}", self.address));
        let answer = request.bearer_auth(&self.admin).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::NO_CONTENT)
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_is_there_after_a_kill(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(company) = Company::on(database).await else { return };
    let open = company.opens().await;

    // A code that was redeemed stays spent, and its tokens are good under the same signing keys.
    let (code, jwks) = (open.code().await, open.jwks().await);
    let tokens = open.app.redeems(&code).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let open = open.killed_and_restarted().await;
    assert_eq!(open.jwks().await, jwks);
    assert!(open.is_active(tokens.member("access_token")).await);
    assert_eq!(open.app.redeems(&code).await.refusal(), "400 invalid_grant");
    // What the replay left behind stays, too.
    let open = open.killed_and_restarted().await;
    assert!(!open.is_active(tokens.member("access_token")).await);
    let refused = open.app.refreshes(tokens.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");

    // A refresh token keeps its generation.
    let first = open.tokens().await;
    let second = open.app.refreshes(first.member("refresh_token")).await;
    assert_eq!(second.status, StatusCode::OK, "{second:?}");
    let open = open.killed_and_restarted().await;
    let third = open.app.refreshes(second.member("refresh_token")).await;
    assert_eq!(third.status, StatusCode::OK, "{third:?}");
    let open = open.killed_and_restarted().await;
    let replayed = open.app.refreshes(first.member("refresh_token")).await;
    assert_eq!(replayed.refusal(), "400 invalid_grant");
    let open = open.killed_and_restarted().await;
    assert!(!open.is_active(third.member("access_token")).await);

    // What was revoked stays revoked: a grant, and an access token alone.
    let (gone, kept) = (open.tokens().await, open.tokens().await);
    assert_eq!(open.app.revokes(gone.member("refresh_token")).await.status, StatusCode::OK);
    let open = open.killed_and_restarted().await;
    assert!(!open.is_active(gone.member("access_token")).await);
    let refused = open.app.refreshes(gone.member("refresh_token")).await;
    assert_eq!(refused.refusal(), "400 invalid_grant");
    assert_eq!(open.app.revokes(kept.member("access_token")).await.status, StatusCode::OK);
    let open = open.killed_and_restarted().await;
    assert!(!open.is_active(kept.member("access_token")).await);
    let next = open.app.refreshes(kept.member("refresh_token")).await;
    assert!(open.is_active(next.member("access_token")).await);

    // A key exists once it was shown, and no longer once it was revoked.
    let (id, secret) = open.administrator().makes_a_key().await.unwrap();
    let open = open.killed_and_restarted().await;
    assert!(open.is_active(&secret).await);
    assert!(open.administrator().revokes(&id).await);
    let open = open.killed_and_restarted().await;
    assert!(!open.is_active(&secret).await);
}

/// What a script was told of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Made,
    /// It asked for the revocation and has no answer: nothing was promised.
    Asked,
    Revoked,
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_under_load_is_there_after_a_kill(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    const SCRIPTS: usize = 8;
    const ENOUGH: usize = 40;
    let Some(company) = Company::on(database).await else { return };
    let mut open = company.opens().await;
    let told: Arc<Mutex<HashMap<String, Told>>> = Arc::default();
    for round in 1..=2 {
        let scripts: Vec<_> = (0..SCRIPTS)
            .map(|number| {
                let (administrator, told) = (open.administrator(), told.clone());
                tokio::spawn(async move {
                    let learns = |secret: &str, what| {
                        told.lock().unwrap().insert(secret.to_owned(), what);
                    };
                    // Until the server is gone.
                    while let Some((id, secret)) = administrator.makes_a_key().await {
                        learns(&secret, Told::Made);
                        if number % 2 == 0 {
                            learns(&secret, Told::Asked);
                            if administrator.revokes(&id).await {
                                learns(&secret, Told::Revoked);
                            }
                        }
                    }
                })
            })
            .collect();
        eventually(async || told.lock().unwrap().len() >= round * ENOUGH).await;
        open = open.killed_and_restarted().await;
        for script in scripts {
            script.await.unwrap();
        }
        let promises = told.lock().unwrap().clone();
        assert!(promises.values().any(|what| *what == Told::Revoked));
        for (secret, what) in promises.iter().filter(|(_, what)| **what != Told::Asked) {
            assert_eq!(open.is_active(secret).await, *what == Told::Made, "round {round}");
        }
    }
}
