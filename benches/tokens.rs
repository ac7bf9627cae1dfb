//! What it takes to make an access token, signature included, and what the signature takes of it:
//! `cargo bench --bench tokens`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use entity::{ClientId, GrantId, OrganizationId};
use portcullis::app::App;
use portcullis::audit::By;
use portcullis::config::Settings;
use portcullis::identity::{SetUp, set_up};
use portcullis::platform::clock::Clock;
use portcullis::resource_servers::{
    self, Catalog, CatalogScope, NewResourceServer, ResourceServer,
};
use portcullis::signing::{self, Algorithm};
use portcullis::tokens::{Authority, Descent, RefreshToken, issue};
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

criterion_group!(tokens, access_tokens, refresh_tokens);
criterion_main!(tokens);

/// In a directory that goes with the first of these.
fn opened(runtime: &Runtime) -> (tempfile::TempDir, App) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("portcullis.db").display());
    let settings = Settings {
        data_dir: directory.path().to_path_buf(),
        database_url: url,
        ..Settings::default()
    };
    let opening = App::open(settings.check().unwrap(), Clock::System);
    let (app, _) = runtime.block_on(opening).unwrap();
    (directory, app)
}

fn access_tokens(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_directory, app) = opened(&runtime);
    let organization = runtime.block_on(company(&app));
    let (grant, client) = (GrantId::new(app.clock.now()), ClientId::new(app.clock.now()));
    for algorithm in Algorithm::ALL {
        let api = runtime.block_on(api(&app, organization, algorithm));
        let mint = || {
            let authority = Authority {
                descent: Descent::Grant { grant, client, user: None },
                organization,
                project: None,
                resource_server: &api,
                scopes: "read:tenants".parse().unwrap(),
                place: None,
            };
            let (issuer, settings) = (&app.config.issuer, &app.config.tokens);
            issue(&app.signer, issuer, settings, app.clock.now(), &authority, None).unwrap()
        };
        c.bench_function(&format!("issue an access token, {algorithm}"), |b| b.iter(mint));
        c.bench_function(&format!("sign no more than a number, {algorithm}"), |b| {
            b.iter(|| app.signer.sign(algorithm, black_box(&1)).unwrap());
        });
    }
}

fn refresh_tokens(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_directory, app) = opened(&runtime);
    let token = RefreshToken { grant: GrantId::new(app.clock.now()), generation: 1 };
    c.bench_function("write a refresh token", |b| {
        b.iter(|| app.refresh_tokens.encode(black_box(token)));
    });
    let text = app.refresh_tokens.encode(token);
    assert!(app.refresh_tokens.decode(text.expose_secret()).is_some());
    c.bench_function("read a refresh token", |b| {
        b.iter(|| app.refresh_tokens.decode(black_box(text.expose_secret())));
    });
}

async fn company(app: &App) -> OrganizationId {
    let (now, by) = (app.clock.now(), By::operator());
    let wanted = SetUp {
        email: "ada@example.com",
        name: "Ada",
        organization: "Example",
        password: &"correct horse battery staple".into(),
        link: None,
    };
    let made = set_up(&app.db, &app.passwords, now, &by, wanted).await;
    let Ok((_, organization)) = made else { panic!("the database is not empty") };
    organization
}

async fn api(app: &App, organization: OrganizationId, algorithm: Algorithm) -> ResourceServer {
    let (now, by) = (app.clock.now(), By::operator());
    signing::ensure_active(&app.db, now, &by, &app.signing_seal, algorithm).await.unwrap();
    app.signer.reload(&app.db).await.unwrap();
    let scope = CatalogScope {
        scope: "read:tenants".parse().unwrap(),
        sentence: "See your tenants".to_owned(),
        needs_admin: false,
    };
    let new = NewResourceServer {
        organization,
        audience: &format!("https://{}.example.com", algorithm.as_str().to_lowercase()),
        name: "An API",
        algorithm,
        catalog: Catalog(vec![scope]),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = app.db.begin().await.unwrap();
    let created = resource_servers::create(&tx, now, &by, "pc", new).await;
    let Ok((server, _)) = created else { panic!("the API can't be registered") };
    tx.commit().await.unwrap();
    server
}
