//! The API document: it is what the code says, it is committed, and people can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::actors::http;
use crate::harness::browser::Browser;
use crate::harness::{Answer, Database, Server};
use crate::routes::{ROUTES, Wants};

/// Writes the committed document anew instead of holding it against the code.
const UPDATE: &str = "PORTCULLIS_UPDATE_OPENAPI";

fn document() -> Value {
    serde_json::to_value(portcullis::openapi::document("")).unwrap()
}

/// Every operation: method, path, and what the document says of it.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation));
        }
    }
    assert!(found.len() > 10, "the operations were not found");
    found
}

#[test]
fn the_committed_document_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let text = serde_json::to_string_pretty(&portcullis::openapi::document("")).unwrap() + "\n";
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is not what the code says any more; renew it: {UPDATE}=1 cargo test --test it openapi"
    );
}

#[test]
fn each_operation_says_what_it_is_and_what_it_wants() {
    let document = document();
    let scopes: BTreeMap<(&str, &str), Wants> =
        ROUTES.iter().map(|(method, path, wants)| ((*method, *path), *wants)).collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let text = |name: &str| operation[name].as_str().unwrap_or_default();
        let summary = text("summary");
        assert!(
            !summary.is_empty() && !summary.ends_with('.'),
            "{what} has the summary {summary:?}"
        );
        assert!(!text("operationId").is_empty(), "{what} has no operationId");
        assert!(ids.insert(text("operationId")), "{} is there twice", text("operationId"));
        let tags = operation["tags"].as_array();
        assert!(tags.is_some_and(|tags| tags.len() == 1), "{what} has no tag, or several");

        let required: Vec<&Value> = operation["security"]
            .as_array()
            .unwrap_or_else(|| panic!("{what} wants no credential"))
            .iter()
            .filter_map(|requirement| requirement.get("bearer"))
            .collect();
        let listed: Value = match scopes[&(&*method, &*path)] {
            Wants::Scope(scope) | Wants::ScopeOrResourceServer(scope) => [scope].as_slice().into(),
            _ => Value::Array(Vec::new()),
        };
        let wants_nothing = scopes[&(&*method, &*path)] == Wants::Nothing;
        let expected: &[&Value] = if wants_nothing { &[] } else { &[&listed] };
        assert_eq!(required, expected, "{what}: the sweep of the routes knows better");

        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{what} has no success");
        for status in ["401", "403"] {
            assert!(responses.contains_key(status), "{what} never answers {status}");
        }
        for (status, response) in responses {
            let description = response["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{what}: {status} is not described");
        }
        let makes = responses.contains_key("201") || method == "PATCH";
        assert!(!makes || operation.get("requestBody").is_some(), "{what} tells of no body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_under_the_path_of_the_issuer() {
    let under_a_path = |settings: &mut portcullis::config::Settings| {
        settings.issuer = format!("http://{}/auth", settings.listen);
    };
    let Some(server) = Server::start_with(Database::Sqlite, under_a_path).await else { return };
    let gets =
        async |path: &str| Answer::of(http().get(server.url(path)).send().await.unwrap()).await;
    let served = gets("/openapi.json").await;
    assert_eq!(served.json["servers"][0]["url"], "/auth");
    assert_eq!(served.json["paths"], document()["paths"]);

    let page = gets("/docs").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("script-src 'self';") && policy.contains("style-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for attribute in ["src=\"", "stylesheet\" href=\"", "data-document=\""] {
        for rest in page.text.split(attribute).skip(1) {
            let link = rest.split('"').next().unwrap();
            let path = link.strip_prefix("/auth").unwrap_or_else(|| panic!("{link}"));
            let asset = gets(path).await;
            assert_eq!(asset.status, StatusCode::OK, "{link}");
            assert_eq!(asset.header("x-content-type-options"), "nosniff");
        }
    }
    assert_eq!(gets("/docs/index.html").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_it_in_a_browser_that_loads_nothing_from_elsewhere() {
    let under_a_path = |settings: &mut portcullis::config::Settings| {
        settings.issuer = format!("http://{}/auth", settings.listen);
    };
    let Some(server) = Server::start_with(Database::Sqlite, under_a_path).await else { return };
    Browser::does(async |browser| {
        browser.goes_to(&server.url("/docs")).await;
        browser.waits_for(".opblock-summary").await;
        let script = "return document.querySelectorAll('.opblock').length";
        let shown = browser.client.execute(script, vec![]).await.unwrap();
        assert_eq!(shown.as_u64().unwrap() as usize, operations(&document()).len());
        assert!(browser.reads(".swagger-ui").await.contains("List API keys"));
        // Opened, it shows fields and schemas.
        let open = "document.querySelector('.opblock-summary-control').click()";
        browser.client.execute(open, vec![]).await.unwrap();
        browser.waits_for(".opblock-body").await;
        let script = "return performance.getEntriesByType('resource').map(it => it.name)";
        let loaded = browser.client.execute(script, vec![]).await.unwrap();
        let loaded = loaded.as_array().unwrap();
        assert!(loaded.len() >= 4, "{loaded:?}");
        for url in loaded.iter().map(|url| url.as_str().unwrap()) {
            let is_ours = url.starts_with(&server.issuer) || url.starts_with("data:");
            assert!(is_ours, "{url} is from elsewhere");
        }
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:?}");
    })
    .await;
}
