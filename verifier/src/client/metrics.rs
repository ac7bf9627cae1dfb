//! What [`Health`] tells, through the facade of the `metrics` crate: to whatever exporter the application has.
//!
//! Written every ten seconds from counts that are kept anyway, so that no check is slower for it. The label `audience`
//! tells several verifiers of one process apart.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{Health, Inner};

const EVERY: Duration = Duration::from_secs(10);
const CHECKS: &str = "portcullis_verifier_checks_total";

/// Publishes for ever.
pub(super) async fn keep_published(inner: Arc<Inner>) {
    loop {
        publish(&inner.health(), &inner.audience);
        tokio::time::sleep(EVERY).await;
    }
}

fn publish(health: &Health, audience: &str) {
    let gauges = [
        (
            "portcullis_verifier_available",
            "1 while the revocation feed has been heard lately enough",
            f64::from(u8::from(health.is_available)),
        ),
        (
            "portcullis_verifier_feed_silence_seconds",
            "How long ago the revocation feed was last heard",
            health.seconds_since_heard.map_or(f64::INFINITY, |seconds| seconds as f64),
        ),
        (
            "portcullis_verifier_revocations",
            "Entries of the revocation log that still matter",
            health.revocations as f64,
        ),
        (
            "portcullis_verifier_remembered_tokens",
            "Access tokens that are remembered",
            health.remembered_tokens as f64,
        ),
        (
            "portcullis_verifier_remembered_api_keys",
            "API keys that are remembered",
            health.remembered_api_keys as f64,
        ),
        (
            "portcullis_verifier_signing_keys",
            "Keys of the authorization server that are known",
            health.signing_keys as f64,
        ),
        (
            "portcullis_verifier_signing_keys_age_seconds",
            "How long ago the signing keys were fetched",
            health.signing_keys_age as f64,
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name, "audience" => audience.to_owned()).set(value);
    }
    let counters = [
        (
            "portcullis_verifier_feed_interruptions_total",
            "Connections to the revocation feed that broke or couldn't be made",
            health.feed_interruptions,
        ),
        (
            "portcullis_verifier_introspections_total",
            "Questions put to the authorization server",
            health.introspections,
        ),
        (
            "portcullis_verifier_introspections_unanswered_total",
            "Questions that brought no answer",
            health.introspections_unanswered,
        ),
    ];
    for (name, help, value) in counters {
        describe_counter!(name, help);
        counter!(name, "audience" => audience.to_owned()).absolute(value);
    }
    describe_counter!(CHECKS, "Requests that were decided, by what came of them");
    let checks = &health.checks;
    for (outcome, value) in [
        ("accepted_from_memory", checks.accepted_from_memory),
        ("accepted_anew", checks.accepted_anew),
        ("refused_missing", checks.refused_missing),
        ("refused_malformed", checks.refused_malformed),
        ("refused_invalid", checks.refused_invalid),
        ("refused_unavailable", checks.refused_unavailable),
    ] {
        counter!(CHECKS, "audience" => audience.to_owned(), "outcome" => outcome).absolute(value);
    }
}
