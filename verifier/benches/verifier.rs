//! What a check costs, beside the signature check that it saves: `cargo bench -p portcullis-verifier --all-features`.
//!
//! One thread checks, so the figures are latencies; ratios are of one run on one machine, and mean more than the
//! figures themselves. The credentials are as a Portcullis server makes them, with ids of its kind.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed")]

#[path = "../tests/resource_server/authorization_server.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod authorization_server;

use std::alloc::System;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use authorization_server::{AuthorizationServer, CREDENTIAL, now};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_verifier::revocation::{Entry, EntryKind};
use portcullis_verifier::{AccessTokenClaims, RequestContext, RevocationSet, Verifier};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const AUDIENCE: &str = "https://api.example.com";
const TOKENS: usize = 50_000;
const API_KEYS: usize = 2_000;
const ENTRIES: i64 = 1_000_000;
const ROUNDS: usize = 25;
const PROBE: usize = 20;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(AuthorizationServer::start());
    let verifier = runtime.block_on(verifier(&server));
    let tokens: Vec<String> = (0..TOKENS).map(|_| server.issues(&claims(&server))).collect();
    let headers: Vec<String> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    println!("a token has {} bytes", tokens[0].len());

    let [first, unparsed, parsed, decode] = first_checks(&server, &verifier, &headers);
    println!("first check of a token: {first}");
    println!("  the signature alone (aws-lc-rs): {unparsed} = x {:.2}", first.over(unparsed));
    println!("  the same, key parsed before: {parsed} = x {:.2}", first.over(parsed));
    println!("  jsonwebtoken::decode: {decode}");

    let digest = measure(20_000, |n| {
        black_box(portcullis_verifier::key::digest(black_box(&tokens[n % 10])));
    });
    println!("the SHA-256 of a token: {digest}");
    let check = |headers: &[String]| checks(&verifier, headers);
    let hot = check(&headers[..1]);
    let among = check(&shuffled(&headers));
    println!("remembered token, always the same: {hot}; decode takes x {:.0}", decode.over(hot));
    println!("  one of {TOKENS}: {among}; decode takes x {:.0}", decode.over(among));

    let keys: Vec<String> =
        (0..API_KEYS).map(|_| server.makes_key(&id("key"), key_facts())).collect();
    let keys: Vec<String> = keys.iter().map(|key| format!("Bearer {key}")).collect();
    for header in &keys {
        runtime.block_on(accept(&verifier, header));
    }
    let hot_key = check(&keys[..1]);
    let among_keys = check(&shuffled(&keys));
    println!("remembered API key, always the same: {hot_key}; one of {API_KEYS}: {among_keys}");

    for (what, header) in [("token", &headers[0]), ("API key", &keys[0])] {
        let region = Region::new(MEMORY);
        for _ in 0..1000 {
            accept(&verifier, header).now_or_never().unwrap();
        }
        let change = region.change();
        println!(
            "1000 checks of a remembered {what}: {} allocations",
            change.allocations + change.reallocations
        );
    }

    let claims: AccessTokenClaims = serde_json::from_value(claims(&server)).unwrap();
    let look = look_ups(verifier.revocations(), &claims);
    let set = RevocationSet::new();
    memory(&set);
    let look_full = look_ups(&set, &claims);
    fill(verifier.revocations(), 0..ENTRIES, now() + 3600, |_, _| {});
    let (hot_full, among_full) = (check(&headers[..1]), check(&shuffled(&headers)));
    let key_full = check(&keys[..1]);
    println!("with {ENTRIES} entries in the set:");
    println!("  the same token: {hot_full} = x {:.2}", hot_full.over(hot));
    println!("  one of {TOKENS}: {among_full} = x {:.2}", among_full.over(among));
    println!("  the same API key: {key_full} = x {:.2}", key_full.over(hot_key));
    println!(
        "  looking for all that can end a token: {look_full}, with none {look} = x {:.2}",
        look_full.over(look)
    );
    let (calm, growing) = (growing(&runtime, &server, 0), growing(&runtime, &server, ENTRIES));
    println!(
        "  a token just after an entry has come: {growing}, with none {calm} = x {:.2}",
        growing.over(calm)
    );
    sweep(&set, &claims);
}

/// Nanoseconds.
#[derive(Clone, Copy)]
struct Time(f64);

impl Time {
    fn over(self, other: Time) -> f64 {
        self.0 / other.0
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ns", self.0)
    }
}

/// What a call takes, of `times` calls: in rounds of a millisecond or so, of which the slower ones were disturbed by
/// other processes. A quarter of the rounds is quicker than what comes out.
fn measure(times: usize, mut call: impl FnMut(usize)) -> Time {
    let began = Instant::now();
    (0..PROBE).for_each(|n| call(n % times));
    let each = began.elapsed().as_nanos() as usize / PROBE;
    let round = (1_000_000 / each.max(1)).max(1);
    let mut rounds = Vec::new();
    for from in (0..times.max(60 * round)).step_by(round) {
        let began = Instant::now();
        (from..from + round).for_each(|n| call(n % times));
        rounds.push(began.elapsed().as_nanos() as f64 / round as f64);
    }
    first_quartile(rounds)
}

fn first_quartile(mut rounds: Vec<f64>) -> Time {
    rounds.sort_by(f64::total_cmp);
    Time(rounds[rounds.len() / 4])
}

async fn verifier(server: &AuthorizationServer) -> Verifier {
    let begun = Verifier::discover(server.issuer()).audience(AUDIENCE).credential(CREDENTIAL);
    begun.build().await.unwrap()
}

async fn accept(verifier: &Verifier, header: &str) {
    let answer = verifier.verify(Some(header), &RequestContext::default()).await;
    black_box(answer.unwrap());
}

/// As the server makes them: UUIDv7, in Crockford's base32.
fn id(prefix: &str) -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    let random = u128::from_be_bytes(random);
    let time = (u128::try_from(now()).unwrap() * 1000) << 80;
    let uuid = time | random & ((1 << 80) - 1) & !(0xf << 76 | 0b11 << 62) | 7 << 76 | 0b10 << 62;
    let digits = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digit = |place: usize| char::from(digits[(uuid >> (5 * place) & 31) as usize]);
    format!("{prefix}_{}", (0..26).rev().map(digit).collect::<String>())
}

fn claims(server: &AuthorizationServer) -> Value {
    json!({
        "iss": server.issuer(), "sub": id("usr"), "aud": AUDIENCE, "exp": now() + 3600, "iat": now(),
        "jti": id("tok"), "client_id": id("app"), "scope": "read:tenants write:deployments/prod/*",
        "org": id("org"), "project": id("prj"), "grant": id("gnt"),
    })
}

fn key_facts() -> Value {
    json!({"org": id("org"), "project": id("prj"), "creator": id("usr"), "owner": id("usr")})
}

fn shuffled(headers: &[String]) -> Vec<String> {
    let mut shuffled = headers.to_vec();
    for last in (1..shuffled.len()).rev() {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        shuffled.swap(last, usize::from_be_bytes(random) % (last + 1));
    }
    shuffled
}

/// The first check of each token, which remembers it; the check of its signature alone, with the key parsed each time,
/// as `jsonwebtoken` does it, and with the key parsed once; and `jsonwebtoken::decode`. By turns, so that what else the
/// machine does disturbs them alike, and each with tokens that the processor has not just checked in another way.
fn first_checks(
    server: &AuthorizationServer,
    verifier: &Verifier,
    headers: &[String],
) -> [Time; 4] {
    let jwk: Jwk = serde_json::from_value(server.jwks()[0].clone()).unwrap();
    let decoding_key = DecodingKey::from_jwk(&jwk).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[AUDIENCE]);
    let jwk = &server.jwks()[0];
    let decode = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
    let point = [vec![4], decode("x"), decode("y")].concat();
    let unparsed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
    let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).unwrap();

    let mut rounds: [Vec<f64>; 4] = Default::default();
    let count = headers.len();
    for from in (0..count).step_by(10) {
        // As if they had just been read: copies, which are near the processor.
        let some = |which: usize| -> Vec<String> {
            let from = (from + which * count / 4) % count;
            headers[from..from + 10].to_vec()
        };
        let mut round = |which: usize, call: &mut dyn FnMut(usize)| {
            let began = Instant::now();
            (0..10).for_each(call);
            rounds[which].push(began.elapsed().as_nanos() as f64 / 10.0);
        };
        let new = some(0);
        round(0, &mut |n| accept(verifier, &new[n]).now_or_never().unwrap());
        for which in [1, 2] {
            let signed: Vec<(String, Vec<u8>)> = some(which)
                .iter()
                .map(|header| {
                    let (message, signature) = header["Bearer ".len()..].rsplit_once('.').unwrap();
                    (message.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap())
                })
                .collect();
            round(which, &mut |n| {
                let (message, signature) = (signed[n].0.as_bytes(), &signed[n].1);
                match which {
                    1 => unparsed.verify(message, signature).unwrap(),
                    _ => parsed.verify_sig(message, signature).unwrap(),
                }
            });
        }
        let others = some(3);
        round(3, &mut |n| {
            let token = &others[n]["Bearer ".len()..];
            let data = jsonwebtoken::decode::<AccessTokenClaims>(token, &decoding_key, &validation);
            black_box(data.unwrap());
        });
    }
    rounds.map(first_quartile)
}

/// Each header is in the processor's cache when it is checked, as it is in a server that has just read it. What it
/// takes to bring it there is measured without the checks and left out.
fn checks(verifier: &Verifier, headers: &[String]) -> Time {
    let mut read = String::new();
    let mut bring = |header: &String| {
        read.clear();
        read.push_str(header);
        black_box(read.as_str()).len()
    };
    let bringing = measure(headers.len(), |n| {
        black_box(bring(&headers[n]));
    });
    let whole = measure(headers.len(), |n| {
        black_box(bring(&headers[n]));
        accept(verifier, &headers[n]).now_or_never().unwrap();
    });
    Time(whole.0 - bringing.0)
}

fn fill(
    set: &RevocationSet,
    range: std::ops::Range<i64>,
    expires_at: i64,
    mut after: impl FnMut(i64, &RevocationSet),
) {
    for seq in range {
        let subject = id("tok");
        set.apply(&Entry {
            seq,
            kind: EntryKind::Revoked,
            subject,
            expires_at,
            issued_before: None,
        });
        after(seq, set);
    }
}

fn memory(set: &RevocationSet) {
    let region = Region::new(MEMORY);
    let held = || {
        let change = region.change();
        change.bytes_allocated as f64 - change.bytes_deallocated as f64
    };
    let mut most = (0.0, 0);
    fill(set, 0..ENTRIES, now() + 3600, |seq, set| {
        let each = held() / (seq + 1) as f64;
        if seq >= ENTRIES / 2 && each > most.0 {
            most = (each, set.len());
        }
    });
    println!("the set with {ENTRIES} entries: {:.1} bytes an entry", held() / ENTRIES as f64);
    println!("  the most on the way there from the half: {:.1}, at {}", most.0, most.1);
}

fn look_ups(set: &RevocationSet, claims: &AccessTokenClaims) -> Time {
    let many: Vec<AccessTokenClaims> = (0..20_000)
        .map(|_| AccessTokenClaims {
            jti: id("tok"),
            sub: id("usr"),
            client_id: id("app"),
            grant: Some(id("gnt")),
            org: Some(id("org")),
            project: Some(id("prj")),
            ..claims.clone()
        })
        .collect();
    measure(many.len(), |n| assert!(!set.is_revoked(black_box(&many[n]))))
}

/// A check of a remembered token of which it isn't known that it lives, as after each entry that comes.
fn growing(runtime: &Runtime, server: &AuthorizationServer, entries: i64) -> Time {
    let verifier = runtime.block_on(verifier(server));
    let headers: Vec<String> =
        (0..2000).map(|_| format!("Bearer {}", server.issues(&claims(server)))).collect();
    fill(verifier.revocations(), 0..entries, now() + 3600, |_, _| {});
    let check = |header: &String| accept(&verifier, header).now_or_never().unwrap();
    headers.iter().for_each(check);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        fill(verifier.revocations(), 0..1, now() + 3600, |_, _| {});
        for headers in headers.chunks(500) {
            let began = Instant::now();
            headers.iter().for_each(check);
            rounds.push(began.elapsed().as_nanos() as f64 / headers.len() as f64);
        }
    }
    first_quartile(rounds)
}

/// What it costs to forget a million entries, and how long that keeps a check waiting.
fn sweep(set: &RevocationSet, claims: &AccessTokenClaims) {
    let done = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let checks = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                black_box(set.is_revoked(claims));
                longest = longest.max(began.elapsed());
            }
            longest
        });
        let began = Instant::now();
        set.remove_expired(now());
        let kept = began.elapsed();
        let began = Instant::now();
        set.remove_expired(now() + 7200);
        println!(
            "going over {ENTRIES} entries: {kept:.1?}; forgetting them: {:.1?}",
            began.elapsed()
        );
        done.store(true, Ordering::Relaxed);
        checks.join().unwrap()
    });
    println!("  the longest that a check waited meanwhile: {longest:.1?}");
}
