//! Keeps to the bounds: the least recently used entries of the largest namespace go first.
#![forbid(unsafe_code)]

use super::lru::Group;
use super::tier::Tier;

/// How many entries have to go at once for a new one, at most: some 2 ms. The rest of a crowd is for
/// [`Tier::relieve`]. An answer of up to 256 KiB never has to drive out more.
const EVICTED_AT_ONCE: usize = 1024;

impl Tier {
    /// Keeps to the bounds after a namespace has grown; or begins to, where much has to go.
    pub(super) fn shrink(&mut self, group: Group) {
        let mut evicted = 0;
        let is_done = self.evict(group, || {
            evicted += 1;
            evicted < EVICTED_AT_ONCE
        });
        if !is_done {
            self.crowded.push(group);
        }
    }

    /// Goes on with what a large answer has left to do: until the tier keeps to its bounds again, or
    /// may not go on. Returns whether there is nothing more to do.
    pub fn relieve(&mut self, mut may_go_on: impl FnMut() -> bool) -> bool {
        while let Some(group) = self.crowded.pop() {
            if !self.evict(group, &mut may_go_on) {
                self.crowded.push(group);
                return false;
            }
        }
        true
    }

    /// Whether no more has to go, where this namespace has grown.
    fn evict(&mut self, group: Group, mut may_go_on: impl FnMut() -> bool) -> bool {
        while let Some(evicted) = self.entries.evict(group) {
            self.counts.evictions += 1;
            self.release(evicted);
            if !may_go_on() {
                return false;
            }
        }
        true
    }
}
