//! When results are looked for in the store without an event. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Pause without new results before the first look; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between two looks.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Looks in a row that find no new result while the queue is empty, before the missing sets count as lost. One is not
/// enough: a worker may have stored a result and acknowledged its set between the look and the question to the queue.
const LOOKS_BEFORE_LOST: u32 = 2;

/// The next look and the pause before it. Only new results postpone a look; an event without one does not.
#[derive(Debug)]
pub(super) struct LookSchedule {
    pause: Duration,
    next: Instant,
    /// Looks in a row that found nothing new while the queue was empty.
    empty: u32,
}

impl LookSchedule {
    /// Makes the schedule of a job without results.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pause: FIRST_PAUSE,
            next: now + FIRST_PAUSE,
            empty: 0,
        }
    }

    /// Returns the time of the next look.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Notes that a new result came in.
    pub(super) fn result_came(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Notes a look; `is_empty` tells that it found nothing new and the queue has no sets. Returns whether the missing
    /// sets count as lost.
    pub(super) fn looked(&mut self, is_empty: bool, now: Instant) -> bool {
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        self.next = now + self.pause;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let lost = self.empty >= LOOKS_BEFORE_LOST;
        if lost {
            self.empty = 0;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_half_a_minute_and_begin_anew_with_a_result() {
        let mut now = Instant::now();
        let mut schedule = LookSchedule::new(now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push((schedule.next() - now).as_secs());
            now = schedule.next();
            schedule.looked(false, now);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        schedule.result_came(now);
        assert_eq!(schedule.next() - now, FIRST_PAUSE);
    }

    #[test]
    fn sets_are_lost_after_two_empty_looks_in_a_row() {
        let now = Instant::now();
        let mut schedule = LookSchedule::new(now);
        assert!(!schedule.looked(true, now));
        assert!(!schedule.looked(false, now));
        assert!(!schedule.looked(true, now));
        assert!(schedule.looked(true, now));
        assert!(!schedule.looked(true, now), "published again, and counted anew");
    }
}
