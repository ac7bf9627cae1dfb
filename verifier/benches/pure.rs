//! The pure parts of a check, one by one: `cargo bench -p portcullis-verifier --bench pure`.
//!
//! `benches/verifier.rs` has what takes more than a function: whole checks beside the signature alone, a million
//! entries in the set, memory.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed")]

#[path = "../tests/resource_server/authorization_server.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod authorization_server;

use std::hint::black_box;
use std::net::IpAddr;

use authorization_server::{AuthorizationServer, CREDENTIAL, now};
use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use portcullis_verifier::network::Network;
use portcullis_verifier::revocation::{Entry, EntryKind};
use portcullis_verifier::{
    AccessTokenClaims, Expected, KeySet, RequestContext, RevocationSet, Scope, ScopeSet, Verifier,
    key, verify_access_token,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const AUDIENCE: &str = "https://api.example.com";
const ENTRIES: i64 = 100_000;

criterion_group!(pure, scopes, keys, networks, tokens, revocations);
criterion_main!(pure);

fn scopes(c: &mut Criterion) {
    let granted: ScopeSet =
        "read:tenants write:deployments/prod/* create:invoices read:users/**".parse().unwrap();
    let scope = |text: &str| text.parse::<Scope>().unwrap();
    for (name, required, is_covered) in [
        ("the first of four", "read:tenants", true),
        ("a filter", "read:deployments/prod/web", true),
        ("none of four", "read:licenses", false),
    ] {
        let required = scope(required);
        assert_eq!(granted.covers(&required), is_covered);
        c.bench_function(&format!("scope covering: {name}"), |b| {
            b.iter(|| black_box(&granted).covers(black_box(&required)));
        });
    }
    let text = granted.to_string();
    c.bench_function("scope parsing: four", |b| {
        b.iter(|| black_box(&*text).parse::<ScopeSet>().unwrap());
    });
}

fn keys(c: &mut Criterion) {
    let key = key::generate(&"pc_live".parse().unwrap()).unwrap();
    let key = key.expose_secret();
    assert!(key::has_valid_checksum(key) && !key::has_valid_checksum(&key[1..]));
    c.bench_function("key: format and checksum", |b| {
        b.iter(|| key::has_valid_checksum(black_box(key)));
    });
    c.bench_function("key: format and wrong checksum", |b| {
        b.iter(|| key::has_valid_checksum(black_box(&key[1..])));
    });
    c.bench_function("key: hash", |b| b.iter(|| key::digest(black_box(key))));
}

fn networks(c: &mut Criterion) {
    let networks: Vec<Network> = (0..20)
        .map(|n| match n % 2 {
            0 => format!("10.{n}.0.0/16").parse().unwrap(),
            _ => format!("2001:db8:{n}::/48").parse().unwrap(),
        })
        .collect();
    let contains = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    for (name, address, is_contained) in [
        ("the first of twenty", "10.0.1.2", true),
        ("the last of twenty", "2001:db8:19::1", true),
        ("none of twenty", "192.0.2.1", false),
        ("none of twenty, mapped", "::ffff:192.0.2.1", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(contains(address), is_contained);
        c.bench_function(&format!("CIDR match: {name}"), |b| {
            b.iter(|| contains(black_box(address)));
        });
    }
    c.bench_function("CIDR parsing", |b| {
        b.iter(|| black_box("2001:db8:19::/48").parse::<Network>().unwrap());
    });
}

fn claims(issuer: &str) -> Value {
    let id = |prefix: &str| format!("{prefix}_01j9zq4k2mfd8v6w3x5y7b1c0e");
    json!({
        "iss": issuer, "sub": id("usr"), "aud": AUDIENCE, "exp": now() + 3600, "iat": now(), "jti": id("tok"),
        "client_id": id("app"), "scope": "read:tenants write:deployments/prod/*", "org": id("org"),
        "project": id("prj"), "grant": id("gnt"),
    })
}

fn tokens(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(AuthorizationServer::start());
    let token = server.issues(&claims(server.issuer()));
    let keys = KeySet::from_json(json!({ "keys": server.jwks() }).to_string().as_bytes()).unwrap();
    let expected =
        Expected { issuer: server.issuer(), audience: Some(AUDIENCE), leeway_seconds: 0 };
    c.bench_function("token: first check (ES256)", |b| {
        b.iter(|| verify_access_token(black_box(&token), &keys, &expected, now()).unwrap());
    });
    let begun = Verifier::discover(server.issuer()).audience(AUDIENCE).credential(CREDENTIAL);
    let verifier = runtime.block_on(begun.build()).unwrap();
    let header = format!("Bearer {token}");
    let context = RequestContext::default();
    // What is remembered is checked without waiting for anything.
    runtime.block_on(verifier.verify(Some(&header), &context)).unwrap();
    let check = || verifier.verify(Some(black_box(&header)), &context).now_or_never();
    c.bench_function("token: remembered", |b| b.iter(|| check().unwrap().unwrap()));
}

fn revocations(c: &mut Criterion) {
    let claims: AccessTokenClaims =
        serde_json::from_value(claims("https://issuer.example.com")).unwrap();
    let set = RevocationSet::new();
    let mut look = |name: &str, is_revoked: bool| {
        assert_eq!(set.is_revoked(&claims), is_revoked);
        c.bench_function(&format!("revocation look-up: {name}"), |b| {
            b.iter(|| set.is_revoked(black_box(&claims)));
        });
    };
    look("in an empty set", false);
    let apply = |seq: i64, subject: String| {
        let expires_at = now() + 3600;
        set.apply(&Entry {
            seq,
            kind: EntryKind::Revoked,
            subject,
            expires_at,
            issued_before: None,
        });
    };
    (0..ENTRIES).for_each(|seq| apply(seq, format!("tok_01j9zq4k2mfd8v6w3x5y{seq:06}")));
    look("among 100,000", false);
    apply(ENTRIES, claims.grant.clone().unwrap());
    look("found", true);
}
