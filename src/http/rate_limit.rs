//! How a caller is told of its rate limit: the `RateLimit-Policy` and `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers-11), and `Retry-After` where it is over.

use std::cell::OnceCell;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use futures::FutureExt as _;

use crate::rate_limit::{Standing, WINDOW};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

tokio::task_local! {
    /// Where whoever takes from a quota leaves word for the answer.
    static STANDING: OnceCell<Standing>;
}

/// The answer to a call that counted against a quota says how much is left, whatever the answer is.
pub(super) fn tell_rate_limit(
    answer: impl Future<Output = Response>,
) -> impl Future<Output = Response> {
    let told = answer.map(|mut response| {
        if let Some(standing) = STANDING.with(|standing| standing.get().copied()) {
            write_rate_limit(response.headers_mut(), &standing);
        }
        response
    });
    STANDING.scope(OnceCell::new(), told)
}

/// Leaves word for the answer to the request that this task is about.
pub fn leave_standing(standing: Standing) {
    // One request has one credential: the first word stands. Without a request nobody is told.
    let _ = STANDING.try_with(|told| told.set(standing));
}

/// Writes the fields that tell how a rate limit stands.
pub fn write_rate_limit(headers: &mut HeaderMap, standing: &Standing) {
    let (name, window) = (standing.policy.name(), seconds(standing.effective_window()));
    let policy = format!("\"{name}\";q={};w={}", standing.quota, WINDOW.as_secs());
    let limit = format!("\"{name}\";r={};t={window}", standing.remaining);
    let mut insert = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    insert(POLICY, policy);
    insert(LIMIT, limit);
    // What can never succeed need not be tried again.
    if let Some(wait) = standing.retry_after.filter(|wait| *wait != Standing::NEVER) {
        insert(header::RETRY_AFTER, seconds(wait).max(1).to_string());
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Policy;

    fn fields(remaining: u32, reset: u64, retry_after: Option<Duration>) -> [String; 3] {
        let reset = Duration::from_millis(reset);
        let standing = Standing { policy: Policy::Key, quota: 120, remaining, reset, retry_after };
        let mut headers = HeaderMap::new();
        write_rate_limit(&mut headers, &standing);
        [POLICY, LIMIT, header::RETRY_AFTER].map(|name| {
            headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        })
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let policy = "\"key\";q=120;w=60";
        assert_eq!(fields(87, 16_500, None), [policy, "\"key\";r=87;t=17", ""]);
        assert_eq!(fields(120, 0, None), [policy, "\"key\";r=120;t=0", ""]);
        assert_eq!(fields(0, 60_000, None), [policy, "\"key\";r=0;t=1", ""]);
        let soon = Some(Duration::from_micros(1));
        assert_eq!(fields(0, 60_000, soon), [policy, "\"key\";r=0;t=1", "1"]);
        let later = Some(Duration::from_millis(4001));
        assert_eq!(fields(2, 59_000, later), [policy, "\"key\";r=2;t=5", "5"]);
        assert_eq!(fields(120, 0, Some(Standing::NEVER)), [policy, "\"key\";r=120;t=0", ""]);
    }
}
