//! The commands that the guides show, run as they stand there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use portcullis::identity::make_setup_link;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use crate::harness::{Database, Server};

/// The blocks of a page that are to be run, one after the other.
fn commands(page: &str) -> String {
    let blocks = page.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_installation_is_set_up_with_curl_alone(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let link = make_setup_link(&server.app.db, server.app.clock.now()).await.unwrap();
    let script = commands(include_str!("../../docs/guides/set-up-with-curl.md"));
    assert!(script.lines().count() > 50, "the guide was not found");
    let directory = tempfile::tempdir().unwrap();
    let (address, token) = (server.address.clone(), link.expose_secret().to_owned());
    let run = tokio::task::spawn_blocking(move || {
        let mut bash = Command::new("bash")
            .args(["-eux"])
            .current_dir(directory.path())
            .env("AUTH", address)
            .env("SETUP_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        bash.wait_with_output().unwrap()
    });
    let output = run.await.unwrap();
    let (told, steps) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{steps}");
    // The last command printed a line of the trail.
    let last = told.trim_end().lines().last().unwrap();
    let event: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{told}"));
    assert!(event["action"].is_string(), "{told}");
}
