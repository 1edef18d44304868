//! The table of leases within one process: the holder of each, and its waiters in order.
//!
//! Each step is one call. So no other thread, finalizer or exception of a signal handler comes
//! between its parts. (In Python these can come between any two instructions, and leave a lock held.)

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

/// The requests that are being computed: `L` leads to the lease, `W` is a waiter.
pub struct Flights<L, W> {
    open: HashMap<Box<[u8]>, Flight<L, W>>,
}

struct Flight<L, W> {
    number: u64,
    failures: u32,
    lease: L,
    waiters: VecDeque<W>,
}

/// What became of the end of a lease. All that is not kept is handed back, to be dropped elsewhere.
pub enum Passed<L, W> {
    /// It was not the key's, and nothing was done; the next lease comes back.
    Stale(Option<L>),
    /// This one has the next lease, in the place of the old.
    To(W, L),
    /// Nobody has it: these go on by themselves.
    Closed(Vec<W>, L, Option<L>),
}

/// Callers wait for a lease that was to end without any.
#[derive(Debug, PartialEq, Eq)]
pub struct Awaited;

impl<L, W> Default for Flights<L, W> {
    fn default() -> Self {
        Self { open: HashMap::new() }
    }
}

impl<L, W> Flights<L, W> {
    /// Has a lease, if nobody has one of this key; otherwise it comes back.
    pub fn lead(&mut self, key: &[u8], number: u64, lease: L) -> Option<L> {
        match self.open.entry(key.into()) {
            Entry::Occupied(_) => Some(lease),
            Entry::Vacant(place) => {
                place.insert(Flight { number, failures: 0, lease, waiters: VecDeque::new() });
                None
            }
        }
    }

    /// Waits, if somebody has a lease of this key; otherwise the waiter comes back.
    pub fn join(&mut self, key: &[u8], waiter: W) -> Option<W> {
        match self.open.get_mut(key) {
            Some(flight) => {
                flight.waiters.push_back(waiter);
                None
            }
            None => Some(waiter),
        }
    }

    /// Waits no more.
    pub fn leave(&mut self, key: &[u8], is_it: impl Fn(&W) -> bool) -> Option<W> {
        let waiters = &mut self.open.get_mut(key)?.waiters;
        let at = waiters.iter().position(is_it)?;
        waiters.remove(at)
    }

    /// The lease of a key.
    #[must_use]
    pub fn lease(&self, key: &[u8]) -> Option<&L> {
        self.open.get(key).map(|it| &it.lease)
    }

    /// How often in a row those failed who had this lease, if it is the key's.
    #[must_use]
    pub fn failures(&self, key: &[u8], number: u64) -> Option<u32> {
        self.open.get(key).filter(|it| it.number == number).map(|it| it.failures)
    }

    /// Ends a lease: who waits longest gets the next, if there is one to be had.
    pub fn pass_on(
        &mut self,
        key: &[u8],
        number: u64,
        failures: u32,
        next: Option<(u64, L)>,
    ) -> Passed<L, W> {
        let Some(flight) = self.open.get_mut(key).filter(|it| it.number == number) else {
            return Passed::Stale(next.map(|(_, lease)| lease));
        };
        match (next, flight.waiters.pop_front()) {
            (Some((number, lease)), Some(waiter)) => {
                flight.number = number;
                flight.failures = failures;
                Passed::To(waiter, std::mem::replace(&mut flight.lease, lease))
            }
            (next, first) => {
                let unused = next.map(|(_, lease)| lease);
                let Some((waiters, lease)) = self.close(key) else { return Passed::Stale(unused) };
                Passed::Closed(first.into_iter().chain(waiters).collect(), lease, unused)
            }
        }
    }

    /// Gives a lease that has not ended to one that waits for it. Returns that one, and the old lease.
    ///
    /// # Errors
    ///
    /// The next lease, if the old one was not the key's, or nobody like that waits.
    pub fn take_over(
        &mut self,
        key: &[u8],
        number: u64,
        is_it: impl Fn(&W) -> bool,
        next: (u64, L),
    ) -> Result<(W, L), L> {
        let found = self.open.get_mut(key).filter(|it| it.number == number);
        let Some(flight) = found else { return Err(next.1) };
        let Some(waiter) =
            flight.waiters.iter().position(is_it).and_then(|at| flight.waiters.remove(at))
        else {
            return Err(next.1);
        };
        flight.number = next.0;
        Ok((waiter, std::mem::replace(&mut flight.lease, next.1)))
    }

    /// Who waits longest.
    #[must_use]
    pub fn first(&self, key: &[u8]) -> Option<&W> {
        self.open.get(key)?.waiters.front()
    }

    /// Ends the lease of a key, whichever it is. Returns who waits, in the order in which they came.
    pub fn close(&mut self, key: &[u8]) -> Option<(Vec<W>, L)> {
        let flight = self.open.remove(key)?;
        Some((flight.waiters.into(), flight.lease))
    }

    /// Ends the lease of a key, as long as no caller waits for it. Returns what there was to end.
    ///
    /// With a `number`, only if that is the lease's.
    ///
    /// # Errors
    ///
    /// Callers wait: nothing is done.
    pub fn close_unawaited(
        &mut self,
        key: &[u8],
        number: Option<u64>,
    ) -> Result<Option<L>, Awaited> {
        match self.open.get(key) {
            Some(it) if number.is_some_and(|number| number != it.number) => Ok(None),
            Some(it) if !it.waiters.is_empty() => Err(Awaited),
            _ => Ok(self.open.remove(key).map(|it| it.lease)),
        }
    }

    /// Each key, with its lease and those who wait.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &L, &VecDeque<W>)> {
        self.open.iter().map(|(key, it)| (&**key, &it.lease, &it.waiters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    fn with(waiters: &[&'static str]) -> Flights<u8, &'static str> {
        let mut flights = Flights::default();
        assert_eq!(flights.lead(KEY, 1, 10), None);
        for &waiter in waiters {
            assert_eq!(flights.join(KEY, waiter), None);
        }
        flights
    }

    #[test]
    fn one_leads_and_others_wait() {
        let mut flights = with(&["a"]);
        assert_eq!(flights.lead(KEY, 2, 20), Some(20));
        assert_eq!(flights.join(b"other", "b"), Some("b"));
        assert_eq!(flights.lease(KEY), Some(&10));
        assert_eq!(flights.leave(KEY, |it| *it == "a"), Some("a"));
        assert_eq!(flights.leave(KEY, |it| *it == "a"), None);
    }

    #[test]
    fn a_lease_is_taken_over_by_one_that_waits_for_it() {
        let mut flights = with(&["a", "b"]);
        assert_eq!(flights.take_over(KEY, 7, |it| *it == "b", (2, 20)), Err(20));
        assert_eq!(flights.take_over(KEY, 1, |it| *it == "c", (2, 20)), Err(20));
        assert_eq!(flights.take_over(KEY, 1, |it| *it == "b", (2, 20)), Ok(("b", 10)));
        assert_eq!(flights.lease(KEY), Some(&20));
        assert_eq!(flights.failures(KEY, 1), None);
        assert_eq!(flights.first(KEY), Some(&"a"));
    }

    #[test]
    fn a_lease_that_ends_goes_to_who_waits_longest_and_only_once() {
        let mut flights = with(&["a", "b"]);
        let passed = flights.pass_on(KEY, 1, 1, Some((2, 20)));
        assert!(matches!(passed, Passed::To("a", 10)));
        assert_eq!((flights.failures(KEY, 1), flights.failures(KEY, 2)), (None, Some(1)));
        assert!(matches!(flights.pass_on(KEY, 1, 1, Some((3, 30))), Passed::Stale(Some(30))));
        assert_eq!(flights.lease(KEY), Some(&20));
    }

    #[test]
    fn without_a_next_lease_all_go_on_in_their_order() {
        let mut flights = with(&["a", "b", "c"]);
        let Passed::Closed(waiters, 10, None) = flights.pass_on(KEY, 1, 2, None) else {
            panic!("it was the key's")
        };
        assert_eq!(waiters, ["a", "b", "c"]);
        assert_eq!(flights.iter().count(), 0);
    }

    #[test]
    fn a_lease_ends_at_once_unless_a_caller_waits_for_it() {
        let mut flights = with(&["a"]);
        assert_eq!(flights.close_unawaited(KEY, Some(1)), Err(Awaited));
        assert_eq!(flights.close_unawaited(KEY, None), Err(Awaited));
        assert_eq!(flights.first(KEY), Some(&"a"));
        flights.leave(KEY, |_| true);
        assert_eq!(flights.close_unawaited(KEY, Some(7)), Ok(None));
        assert_eq!(flights.close_unawaited(KEY, Some(1)), Ok(Some(10)));
        assert_eq!(flights.close_unawaited(KEY, Some(1)), Ok(None));
        assert_eq!(with(&[]).close_unawaited(KEY, None), Ok(Some(10)));
    }

    #[test]
    fn a_lease_that_nobody_waits_for_is_over() {
        let mut flights = with(&[]);
        let passed = flights.pass_on(KEY, 1, 0, Some((2, 20)));
        assert!(matches!(passed, Passed::Closed(waiters, 10, Some(20)) if waiters.is_empty()));
        assert_eq!(flights.lease(KEY), None);
    }
}
