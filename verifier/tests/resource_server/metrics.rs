use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};

use super::authorization_server::AuthorizationServer;
use super::{check, later, until, verifier};

/// What an exporter would show.
#[derive(Default)]
struct Shown(Arc<Mutex<HashMap<String, f64>>>);

struct Metric(String, Arc<Mutex<HashMap<String, f64>>>);

impl Shown {
    fn metric(&self, key: &Key) -> Arc<Metric> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        Arc::new(Metric(format!("{}{}", key.name(), labels.collect::<String>()), self.0.clone()))
    }

    fn value(&self, name: &str, outcome: &str) -> Option<f64> {
        let name = format!("portcullis_verifier_{name} audience=https://api.example.com{outcome}");
        self.0.lock().unwrap().get(&name).copied()
    }
}

impl CounterFn for Metric {
    fn increment(&self, _: u64) {
        unreachable!("these are counted elsewhere")
    }

    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for Metric {
    fn increment(&self, _: f64) {
        unreachable!("these are set")
    }

    fn decrement(&self, _: f64) {
        unreachable!("these are set")
    }

    fn set(&self, value: f64) {
        self.1.lock().unwrap().insert(self.0.clone(), value);
    }
}

impl Recorder for Shown {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn what_health_tells_is_published() {
    let shown = Shown::default();
    let _guard = metrics::set_default_local_recorder(&shown);
    let server = AuthorizationServer::start().await;
    server.revokes("tok_2");
    let verifier = verifier(&server).await;
    until(async || shown.value("available", "") == Some(1.0)).await;
    assert_eq!(shown.value("revocations", ""), Some(1.0));
    assert_eq!(shown.value("signing_keys", ""), Some(1.0));
    assert_eq!(shown.value("feed_interruptions_total", ""), Some(0.0));

    let token = server.issues(&server.claims());
    for _ in 0..3 {
        assert!(check(&verifier, &token).await.is_ok());
    }
    assert!(check(&verifier, "garbage").await.is_err());
    later(Duration::from_secs(10)).await;
    let checks = |outcome: &str| shown.value("checks_total", &format!(" outcome={outcome}"));
    until(async || checks("accepted_from_memory") == Some(2.0)).await;
    assert_eq!((checks("accepted_anew"), checks("refused_invalid")), (Some(1.0), Some(1.0)));
    assert_eq!(shown.value("remembered_tokens", ""), Some(1.0));

    server.is_away(true);
    later(Duration::from_secs(400)).await;
    until(async || shown.value("available", "") == Some(0.0)).await;
    assert!(shown.value("feed_silence_seconds", "") >= Some(400.0));
}
