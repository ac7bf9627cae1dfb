//! What a check may cost in memory. One test, for allocations are counted for the whole process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "resource_server/authorization_server.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod authorization_server;

use std::alloc::System;

use authorization_server::{AuthorizationServer, CREDENTIAL, now};
use futures::FutureExt;
use portcullis_verifier::revocation::{Entry, EntryKind};
use portcullis_verifier::{RequestContext, RevocationSet, Verifier};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const AUDIENCE: &str = "https://api.example.com";
const ENTRIES: i64 = 1_000_000;

/// An id as the server makes them, with this number where they are random.
fn token_id(number: u64) -> String {
    let digits = b"0123456789abcdefghjkmnpqrstvwxyz";
    // Spread over all that is random, lest they all begin alike.
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let digit = |place: u32| char::from(digits[(random >> (5 * place) & 31) as usize]);
    let random: String = (0..12).map(digit).collect();
    format!("tok_01h455vb4pex5v{random}")
}

#[tokio::test]
async fn a_remembered_check_allocates_nothing_and_an_entry_of_the_log_takes_64_bytes_at_most() {
    let server = AuthorizationServer::start().await;
    let begun = Verifier::discover(server.issuer()).audience(AUDIENCE).credential(CREDENTIAL);
    let verifier = begun.build().await.unwrap();
    let (token, key) = (server.issues(&server.claims()), server.makes_key("key_1", json!({})));
    let headers = [format!("Bearer {token}"), format!("Bearer {key}")];
    let context = RequestContext::default();
    for header in &headers {
        assert!(verifier.verify(Some(header), &context).await.is_ok());
    }
    for header in &headers {
        // Nothing else runs meanwhile, for nothing is waited for.
        let region = Region::new(MEMORY);
        for _ in 0..100 {
            let answer = verifier.verify(Some(header), &context).now_or_never();
            assert!(answer.unwrap().is_ok());
        }
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations), (0, 0));
    }

    let region = Region::new(MEMORY);
    let set = RevocationSet::new();
    for seq in 0..ENTRIES {
        let subject = token_id(seq.unsigned_abs());
        let (kind, expires_at, issued_before) = (EntryKind::Revoked, now() + 600, None);
        set.apply(&Entry { seq, kind, subject, expires_at, issued_before });
    }
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    assert_eq!(set.len(), 1_000_000);
    assert!(held <= 64 * set.len(), "{held} bytes");
}
