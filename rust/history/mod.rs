//! Counters over time: what came to them in each stretch of time, in several resolutions.
//!
//! Nothing is written when something is counted. A counter that is told the time compares it with the
//! minute under way ([`History::is_over`]). Only when that is over, [`History::roll`] notes the totals
//! so far. The difference of two such notes is what happened in between.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

const SECOND: u64 = 1_000_000_000;

/// Length of a bucket in nanoseconds, and how many are kept: minutes for 3 hours, quarters of an hour
/// for 2 days, a quarter of a day for 90 days. 732 in all.
const LEVELS: [(u64, usize); 3] =
    [(60 * SECOND, 180), (15 * 60 * SECOND, 192), (6 * 3600 * SECOND, 360)];

/// Sums that only grow, but for what is taken back.
pub trait Totals: Copy + Default + PartialEq {
    /// What came since they were `before`.
    #[must_use]
    fn since(&self, before: &Self) -> Self;
}

/// What a bucket has: when it begins, in nanoseconds, and what was counted in it.
pub type Bucket<T> = (u64, T);

/// See the module's documentation.
pub struct History<T> {
    /// When the shortest bucket under way began, in nanoseconds.
    start: u64,
    levels: [Level<T>; 3],
}

impl<T: Totals> Default for History<T> {
    fn default() -> Self {
        Self { start: 0, levels: LEVELS.map(|(width, most)| Level::new(width, most)) }
    }
}

impl<T: Totals> History<T> {
    /// Whether `now` is not in the minute under way: before anything is counted, call `roll`.
    #[inline]
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        // A clock that was set back makes this a large number.
        now.wrapping_sub(self.start) >= LEVELS[0].0
    }

    /// Begins another bucket, with the totals of all that was counted before.
    #[cold]
    pub fn roll(&mut self, now: u64, totals: T) {
        self.start = now - now % LEVELS[0].0;
        for level in &mut self.levels {
            level.roll(now, totals);
        }
    }

    /// By resolution, the finest first: the length of a bucket in nanoseconds, and those buckets in
    /// which anything was counted. `totals`: those of now.
    #[must_use]
    pub fn levels(&self, totals: T) -> Vec<(u64, Vec<Bucket<T>>)> {
        self.levels.iter().map(|level| (level.width, level.buckets(totals))).collect()
    }
}

struct Level<T> {
    width: u64,
    most: usize,
    /// The bucket under way, counted from the epoch.
    current: u64,
    /// Buckets that are over, and the totals at their ends.
    over: VecDeque<(u64, T)>,
    /// The totals before the first of them.
    before: T,
}

impl<T: Totals> Level<T> {
    fn new(width: u64, most: usize) -> Self {
        Self { width, most, current: 0, over: VecDeque::new(), before: T::default() }
    }

    fn roll(&mut self, now: u64, totals: T) {
        let bucket = now / self.width;
        // After a clock was set back, what came later belongs to the bucket under way.
        while self.over.back().is_some_and(|(last, _)| *last >= bucket) {
            self.over.pop_back();
        }
        let last = self.over.back().map_or(self.before, |(_, totals)| *totals);
        if self.current < bucket && last != totals {
            self.over.push_back((self.current, totals));
        }
        self.current = bucket;
        while self.over.len() >= self.most {
            if let Some((_, totals)) = self.over.pop_front() {
                self.before = totals;
            }
        }
    }

    fn buckets(&self, totals: T) -> Vec<Bucket<T>> {
        let mut before = self.before;
        let ends = self.over.iter().copied().chain([(self.current, totals)]);
        let counted = ends.map(|(bucket, totals)| {
            let counted = totals.since(&before);
            before = totals;
            (bucket * self.width, counted)
        });
        counted.filter(|(_, counted)| *counted != T::default()).collect()
    }
}

#[cfg(test)]
mod tests;
