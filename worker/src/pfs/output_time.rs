//! The time that a try has to collect and store its output, and the order to stop.
//!
//! A sparse file of a terabyte takes no space and no time to make, and hours to hash. Without a limit it would hold its
//! slot as long.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Time without `datum_timeout`, for output that takes no space on the disk.
const BASE_LIMIT: Duration = Duration::from_secs(600);
/// Bytes on the disk for which one second is added without `datum_timeout`. Slow stores are faster than this.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Steps between two looks at the clock.
const STEPS: u32 = 64;

/// The time that is left to collect and store the output of one try.
#[derive(Clone, Debug)]
pub(crate) struct OutputTime {
    stop: CancellationToken,
    begun: Instant,
    limit: Duration,
    /// Whether the limit is the pipeline's `datum_timeout`.
    is_datum_timeout: bool,
    steps: u32,
}

/// Why output is not collected or stored any further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TimeUp {
    /// The set is stopped.
    Stopped,
    /// The limit is over. The text is for the user.
    Over(String),
}

impl OutputTime {
    /// Begins now. `datum_timeout` is the limit; without one it grows with the bytes on the disk.
    pub(crate) fn begin(stop: &CancellationToken, datum_timeout: Option<Duration>) -> Self {
        Self {
            stop: stop.clone(),
            begun: Instant::now(),
            limit: datum_timeout.unwrap_or(BASE_LIMIT),
            is_datum_timeout: datum_timeout.is_some(),
            steps: 0,
        }
    }

    /// Adds the time for files that take so many bytes on the disk.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        if !self.is_datum_timeout {
            self.limit += Duration::from_secs(bytes / BYTES_PER_SECOND);
        }
    }

    /// Returns the time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Looks at the clock and the order to stop.
    ///
    /// # Errors
    /// When the work must end.
    pub(crate) fn check(&self) -> Result<(), TimeUp> {
        if self.stop.is_cancelled() {
            return Err(TimeUp::Stopped);
        }
        if self.left().is_zero() {
            return Err(TimeUp::Over(self.reason()));
        }
        Ok(())
    }

    /// Does the same at every 64th call, for steps that take less time than a look at the clock.
    pub(crate) fn check_step(&mut self) -> Result<(), TimeUp> {
        self.steps = (self.steps + 1) % STEPS;
        if self.steps == 1 { self.check() } else { Ok(()) }
    }

    fn reason(&self) -> String {
        let limit = self.limit;
        if self.is_datum_timeout {
            format!(
                "collecting and storing the output took longer than datum_timeout allows ({limit:?}): write less, \
                 or raise datum_timeout"
            )
        } else {
            format!(
                "collecting and storing the output took longer than {limit:?}, the limit for as many bytes as it has \
                 on the disk: write less, or set datum_timeout to allow more time"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_datum_timeout_or_grows_with_the_bytes_on_the_disk() {
        let stop = CancellationToken::new();
        let mut own = OutputTime::begin(&stop, Some(Duration::ZERO));
        own.add_bytes(1 << 40);
        let Err(TimeUp::Over(reason)) = own.check() else {
            panic!("no time was left");
        };
        assert!(reason.contains("datum_timeout allows (0ns)"), "{reason}");
        let mut other = OutputTime::begin(&stop, None);
        assert!(other.left() <= BASE_LIMIT);
        other.add_bytes(3600 * BYTES_PER_SECOND);
        assert!(other.left() > Duration::from_secs(3600), "{:?}", other.left());
        assert_eq!(other.check(), Ok(()));
        stop.cancel();
        assert_eq!(
            (other.check(), own.check()),
            (Err(TimeUp::Stopped), Err(TimeUp::Stopped))
        );
    }
}
