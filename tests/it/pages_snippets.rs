//! What the console offers to paste into an application, run as it stands there: by a shell, and by the libraries that
//! it is for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::Value;

use crate::harness::actors::claims;
use crate::harness::services::{node, python};
use crate::harness::world::{AUDIENCE, REDIRECT_URI};
use crate::harness::{Application, Database, Person, Redirected, World};
use crate::pages_applications::{FOR_ITSELF, FOR_PEOPLE, registers};

/// What stands in the element with this id, as a person copies it.
fn copied(page: &str, id: &str) -> String {
    let rest = page.split_once(&format!(r#"<pre id="{id}""#)).unwrap_or_else(|| panic!("{page}"));
    let code = rest.1.split_once('>').unwrap().1.split("</pre>").next().unwrap();
    let unescaped =
        [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    unescaped.iter().fold(code.to_owned(), |code, (from, to)| code.replace(from, to))
}

/// Pastes something into a shell, and tells what it prints.
async fn pastes(script: String) -> String {
    let ran = tokio::task::spawn_blocking(move || {
        let mut shell = Command::new("sh");
        shell.args(["-euc", &script]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        shell.output().unwrap()
    });
    let output = ran.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Somebody who is logged in follows the address of an authorization request and allows it; where that leads.
async fn allows(person: &Person, address: &str) -> Redirected {
    let address = url::Url::parse(address).unwrap();
    let query: Vec<(String, String)> = address.query_pairs().into_owned().collect();
    let query: Vec<(&str, &str)> = query.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let back = person.decides(&query, "allow").await;
    assert!(back.location.starts_with(REDIRECT_URI), "{back:?}");
    back
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_line_of_an_application_without_people_gets_a_token() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (app, one) = registers(&world, FOR_ITSELF).await;
    let page = world.owner.gets(&format!("{one}/connect")).await.text;
    assert!(!page.contains("id=\"people-"), "it acts for no people: {page}");
    let line = copied(&page, "own-curl");
    let secret = app.secret.clone().unwrap();
    let answer = pastes(line.replace("YOUR_CLIENT_SECRET", &secret)).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(token["scope"], "read:tenants");
    assert_eq!(token["aud"], AUDIENCE);

    for (id, parts) in [
        ("own-node", ["clientCredentialsGrant", "algorithm: \"oauth2\"", "allowInsecureRequests"]),
        ("own-python", ["grant_type=\"client_credentials\"", "/oauth/token\"", "CLIENT_SECRET"]),
        (
            "own-go",
            ["clientcredentials.Config", "/oauth/token\"", "strings.Fields(\"read:tenants\")"],
        ),
    ] {
        let code = copied(&page, id);
        assert!(code.contains(&format!("\"{}\"", app.id)), "{code}");
        assert!(code.contains(&world.server.issuer), "{code}");
        for part in parts {
            assert!(code.contains(part), "{part}: {code}");
        }
    }

    // With several APIs it says which, also where a name would be more to a shell.
    let audience = "https://two.example/it's?$(x)";
    let (second, _) = world.second_api(audience, portcullis::signing::Algorithm::Es256).await;
    let more = format!("{audience} read:users");
    let fields = [FOR_ITSELF, &[("more_scopes", &*more)]].concat();
    let (app, one) = registers(&world, &fields).await;
    let connect = format!("{one}/connect?resource_server={}", second.id);
    let line = copied(&world.owner.gets(&connect).await.text, "own-curl");
    let line = line.replace("YOUR_CLIENT_SECRET", &app.secret.unwrap());
    let answer: serde_json::Value = serde_json::from_str(&pastes(line).await).unwrap();
    let token = claims(answer["access_token"].as_str().unwrap());
    assert_eq!((&token["scope"], &token["aud"]), (&"read:users".into(), &audience.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_lines_of_an_application_for_people_get_a_token_for_one() {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    let (app, one) = registers(&world, FOR_PEOPLE).await;
    let page = world.owner.gets(&format!("{one}/connect")).await.text;
    assert!(!page.contains("id=\"own-"), "{page}");
    let begin = copied(&page, "people-begin") + "\necho \"$VERIFIER\"\necho \"$STATE\"";
    let printed = pastes(begin).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with(&format!("{}/oauth/authorize?", world.server.issuer)));
    let back = allows(&world.owner, lines[0]).await;
    assert_eq!(back.get("state"), lines[2]);
    let end = copied(&page, "people-end")
        .replace("YOUR_CLIENT_SECRET", &app.secret.unwrap())
        .replace("THE_CODE", back.get("code"));
    let answer = pastes(format!("VERIFIER={}\n{end}", lines[1])).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["scope"], "read:tenants", "{answer}");
    assert!(answer["refresh_token"].is_string(), "{answer}");
}

/// A library's language.
#[derive(Debug, Clone, Copy)]
enum Language {
    Node,
    Python,
}

impl Language {
    /// What runs a program, and the folder that holds it; none where the library is missing.
    fn installed(self) -> Option<(PathBuf, tempfile::TempDir)> {
        let directory = tempfile::tempdir().unwrap();
        let program = match self {
            Self::Node => node(directory.path(), "openid-client")?,
            Self::Python => python("Authlib and requests")?,
        };
        Some((program, directory))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
        }
    }

    /// The code as a program that prints the address to go to and reads where the browser came back to.
    fn program(self, code: &str) -> String {
        let back = "When the browser is back;";
        match self {
            Self::Node => {
                let line = "import { createInterface } from \"node:readline\";\n\
                    const line = () => new Promise(it => createInterface(process.stdin).once(\"line\", it));\n";
                let reads =
                    format!("console.log(address.href);\nconst url = await line();\n// {back}");
                line.to_owned()
                    + &code.replace(&format!("// {back}"), &reads)
                    + "\nprocess.exit();\n"
            }
            Self::Python => {
                let reads = format!("print(address, flush=True)\nurl = input()\n# {back}");
                code.replace(&format!("# {back}"), &reads)
            }
        }
    }
}

/// Runs a program of a library in the name of an application: tells the last line that it prints, its token.
async fn runs(world: &World, language: Language, app: &Application, code: &str) -> Option<String> {
    let (program, directory) = language.installed()?;
    let file = directory.path().join("main.mjs");
    std::fs::write(&file, language.program(code)).unwrap();
    let mut command = Command::new(program);
    command.arg(&file).current_dir(directory.path());
    command.env("CLIENT_SECRET", app.secret.as_deref().unwrap_or("none"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(stdout).lines();
    let mut line = lines.next().expect("it prints nothing").unwrap();
    if line.starts_with("http") {
        let back = allows(&world.owner, &line).await.location;
        writeln!(stdin, "{back}").unwrap();
        line = lines.next().expect("it prints no token").unwrap();
    }
    assert!(child.wait().unwrap().success());
    Some(line)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_code_for_libraries_gets_tokens(
    #[values(Language::Node, Language::Python)] language: Language,
) {
    let Some(world) = World::on(Database::Sqlite).await else { return };
    world.owner.logs_in().await;
    for (flow, fields) in [("own", FOR_ITSELF), ("people", FOR_PEOPLE)] {
        let (app, one) = registers(&world, fields).await;
        let page = world.owner.gets(&format!("{one}/connect")).await.text;
        let code = copied(&page, &format!("{flow}-{}", language.name()));
        let Some(token) = runs(&world, language, &app, &code).await else { return };
        assert_eq!(claims(&token)["scope"], "read:tenants", "{code}");
    }
    // A public one proves nothing.
    let app = world.public_app().await;
    let one = format!("/o/{}/applications/{}", world.organization, app.id);
    let page = world.owner.gets(&format!("{one}/connect")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let code = copied(&page.text, &format!("people-{}", language.name()));
    assert!(!code.contains("SECRET"), "{code}");
    let Some(token) = runs(&world, language, &app, &code).await else { return };
    assert_eq!(claims(&token)["client_id"], Value::from(app.id));
}
