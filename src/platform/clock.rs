//! The only place that asks what time it is, so that a test can move it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use entity::Timestamp;

/// A source of the present time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The operating system's.
    System,
    /// One that stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at the system's present time until `advance` moves it.
    #[must_use]
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicI64::new(Self::System.now().0)))
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// How long it is since some moment in the past. This only ever goes forward: for spans that must not change when
    /// the system's time is corrected.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        match self {
            Self::System => BEGINNING.elapsed(),
            Self::Manual(_) => self.now().since(Timestamp(0)),
        }
    }

    /// Moves a manual clock forward; the system's can't be moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(at) = self {
            at.store((Timestamp(at.load(Ordering::SeqCst)) + by).0, Ordering::SeqCst);
        }
    }
}
