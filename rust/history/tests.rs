use super::*;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum(u64);

impl Totals for Sum {
    fn since(&self, before: &Self) -> Self {
        Self(self.0.saturating_sub(before.0))
    }
}

#[derive(Default)]
struct Counter {
    history: History<Sum>,
    sum: u64,
}

impl Counter {
    fn count(&mut self, minute: u64, times: u64) {
        let now = minute * 60 * SECOND + 1;
        if self.history.is_over(now) {
            self.history.roll(now, Sum(self.sum));
        }
        self.sum += times;
    }

    /// Buckets of a level: the minute in which each begins, and what was counted in it.
    fn level(&self, level: usize) -> Vec<(u64, u64)> {
        let (_, buckets) = self.history.levels(Sum(self.sum)).swap_remove(level);
        buckets.iter().map(|(start, sum)| (start / SECOND / 60, sum.0)).collect()
    }
}

#[test]
fn what_is_counted_is_in_the_bucket_of_its_time() {
    let mut counter = Counter::default();
    counter.count(1000, 3);
    counter.count(1000, 4);
    counter.count(1001, 5);
    counter.count(1020, 6);
    assert_eq!(counter.level(0), [(1000, 7), (1001, 5), (1020, 6)]);
    assert_eq!(counter.level(1), [(990, 12), (1020, 6)]);
    assert_eq!(counter.level(2), [(720, 18)]);
}

#[test]
fn nothing_counted_is_no_bucket() {
    assert_eq!(Counter::default().level(0), []);
    let mut counter = Counter::default();
    counter.count(5, 0);
    counter.count(7, 1);
    counter.count(9, 0);
    assert_eq!(counter.level(0), [(7, 1)]);
}

#[test]
fn the_oldest_buckets_go_and_the_rest_keep_their_sums() {
    let mut counter = Counter::default();
    let first = 1_000_000;
    for minute in 0..100_000 {
        counter.count(first + minute, 1);
    }
    let minutes = counter.level(0);
    assert_eq!(minutes.len(), 180);
    assert!(minutes.iter().all(|(_, sum)| *sum == 1));
    assert_eq!(minutes.last(), Some(&(first + 99_999, 1)));
    assert_eq!(counter.level(1).len(), 192);
    // 69 days: all of them are there.
    assert_eq!(counter.level(2).iter().map(|(_, sum)| sum).sum::<u64>(), 100_000);
}

#[test]
fn a_clock_set_back_counts_on_in_the_earlier_bucket() {
    let mut counter = Counter::default();
    counter.count(100, 1);
    counter.count(200, 2);
    counter.count(150, 4);
    counter.count(151, 8);
    // What was counted at 200 is in the bucket that the clock went back to.
    assert_eq!(counter.level(0), [(100, 1), (150, 6), (151, 8)]);
    counter.count(0, 16);
    assert_eq!(counter.level(0), [(0, 31)]);
}

#[test]
fn a_sum_that_was_taken_back_is_none() {
    let mut counter = Counter::default();
    counter.count(10, 1);
    counter.count(11, 0);
    counter.sum -= 1;
    assert_eq!(counter.level(0), [(10, 1)]);
}
