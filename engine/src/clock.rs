//! Where time comes from, so that tests can set it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use forebay_format::TimestampMs;

/// A source of time. Clones of a manual clock share their hands.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    System,
    /// Milliseconds since 1970-01-01 UTC, moved by hand.
    Manual(Rc<Cell<i64>>),
}

impl Clock {
    /// Wall-clock time. It can jump; whoever needs it to grow takes the larger of this and the
    /// last.
    #[expect(clippy::disallowed_methods, reason = "this is where the engine's time comes from")]
    pub fn now(&self) -> TimestampMs {
        match self {
            Self::System => {
                let since = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO);
                TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(now) => TimestampMs::new(now.get()),
        }
    }

    /// For measuring spans within the process.
    #[expect(clippy::disallowed_methods, reason = "this is where the engine's time comes from")]
    pub(crate) fn monotonic() -> Instant {
        Instant::now()
    }
}
