//! The memory tier's promises, with fingerprints that collide by construction.

use super::{Found, Settings, Tier};
use crate::memory::Bounds;
use crate::memory::{Answer, FOREVER};
use crate::request::Context;
use crate::request::Request;
use crate::request::{Fingerprinter, Probe, VERBATIM_MAX};
use crate::request::{Key, Keyer};

pub const A: Request<'_> = Request { namespace: b"", llm_string: b"m", prompt: b"a" };
pub const B: Request<'_> = Request { namespace: b"", llm_string: b"m", prompt: b"b" };

pub struct Fixture {
    pub tier: Tier,
    pub fingerprinter: Fingerprinter,
    pub keyer: Keyer,
}

impl Fixture {
    pub fn new(max_bytes: usize, max_entries: usize) -> Self {
        let secret: Vec<u8> = (0..192).collect();
        let fingerprinter = Fingerprinter::new(&secret).expect("long enough");
        let bounds = Bounds { bytes: max_bytes, entries: max_entries, ..Bounds::default() };
        Self {
            tier: Tier::new(Settings { bounds, ..Settings::default() }),
            fingerprinter,
            keyer: Keyer::new(None),
        }
    }

    pub fn with_grace(grace: u64) -> Self {
        let tier = Tier::new(Settings { grace, ..Settings::default() });
        Self { tier, ..Self::new(0, 0) }
    }

    pub fn key(&self, request: &Request<'_>) -> Key {
        self.keyer.key(request, Context::default(), |_| None).expect("no bypass")
    }

    pub fn update(&mut self, request: &Request<'_>, value: &[u8]) -> bool {
        self.update_until(request, value, FOREVER)
    }

    pub fn update_until(&mut self, request: &Request<'_>, value: &[u8], expires: u64) -> bool {
        self.keep(request, Answer { expires, ..Answer::lasting(value) })
    }

    pub fn keep(&mut self, request: &Request<'_>, answer: Answer) -> bool {
        let (probe, key) = (self.fingerprinter.probe(request), self.key(request));
        self.tier.update(request, &probe, key, answer)
    }

    pub fn fill(&mut self, request: &Request<'_>, value: &[u8], epoch: u64) -> bool {
        let (probe, key) = (self.fingerprinter.probe(request), self.key(request));
        self.tier.fill(request, &probe, key, Answer::lasting(value), epoch, 0)
    }

    pub fn lookup(&mut self, request: &Request<'_>) -> Option<Vec<u8>> {
        self.lookup_at(request, 0)
    }

    pub fn lookup_at(&mut self, request: &Request<'_>, now: u64) -> Option<Vec<u8>> {
        let probe = self.fingerprinter.probe(request);
        value_of(self.tier.lookup(request, &probe, now))
    }
}

fn value_of(found: Found) -> Option<Vec<u8>> {
    found.hit().map(|hit| hit.value.to_vec())
}

#[test]
fn an_equal_request_hits_and_any_other_misses() {
    let mut it = Fixture::new(1 << 20, 100);
    assert!(it.update(&A, b"one"));
    assert_eq!(it.lookup(&A).as_deref(), Some(&b"one"[..]));
    assert_eq!(it.lookup(&B), None);
    assert_eq!(it.lookup(&Request { namespace: b"n", ..A }), None);
    assert_eq!(it.lookup(&Request { llm_string: b"m2", ..A }), None);
    assert_eq!(it.tier.counts().hits, 1);
}

#[test]
fn a_colliding_fingerprint_is_a_miss_and_the_newer_entry_wins() {
    let mut it = Fixture::new(1 << 20, 100);
    let forged = it.fingerprinter.probe(&A); // the same probe for both: a full 192-bit collision
    let (key_a, key_b) = (it.key(&A), it.key(&B));
    assert!(it.tier.update(&A, &forged, key_a, Answer::lasting(b"one")));
    assert_eq!(it.tier.lookup(&B, &forged, 0), Found::Nothing);
    assert!(it.tier.update(&B, &forged, key_b, Answer::lasting(b"two")));
    assert_eq!(value_of(it.tier.lookup(&B, &forged, 0)).as_deref(), Some(&b"two"[..]));
    assert_eq!(it.tier.lookup(&A, &forged, 0), Found::Nothing);
    // The loser's removal must not take the winner's row with it.
    assert!(it.tier.remove(&key_a));
    assert_eq!(value_of(it.tier.lookup(&B, &forged, 0)).as_deref(), Some(&b"two"[..]));
}

#[test]
fn a_long_prompt_is_verified_by_its_digest() {
    let long = vec![b'x'; VERBATIM_MAX + 1];
    let request = Request { prompt: &long, ..A };
    let mut it = Fixture::new(1 << 20, 100);
    assert!(it.update(&request, b"one"));
    assert!(it.tier.bytes() < VERBATIM_MAX, "the prompt itself is not kept");
    assert_eq!(it.lookup(&request).as_deref(), Some(&b"one"[..]));
    let forged = Probe { digest: Some([0; 32]), ..it.fingerprinter.probe(&request) };
    assert_eq!(it.tier.lookup(&request, &forged, 0), Found::Nothing);
    let forged = Probe { digest: None, ..it.fingerprinter.probe(&request) };
    assert_eq!(it.tier.lookup(&request, &forged, 0), Found::Nothing);
}

#[test]
fn a_sketch_finds_and_equality_decides() {
    let mut text = vec![b'x'; 10_000];
    let mut it = Fixture::new(1 << 20, 100);
    for middle in 0..3_u8 {
        text[5_000] = middle;
        let request = Request { prompt: &text, ..A };
        assert!(it.update(&request, &[middle]));
    }
    for middle in 0..3_u8 {
        text[5_000] = middle;
        let request = Request { prompt: &text, ..A };
        let sketch = it.fingerprinter.sketch(&request).expect("long enough");
        // All three share a sketch, and the last has its row.
        let found = value_of(it.tier.lookup(&request, &sketch, 0));
        assert_eq!(found.as_deref(), (middle == 2).then_some(&[2][..]));
        assert_eq!(it.lookup(&request), Some(vec![middle]));
    }
    for middle in 0..3_u8 {
        text[5_000] = middle;
        let key = it.key(&Request { prompt: &text, ..A });
        assert!(it.tier.remove(&key));
    }
    assert_eq!(it.tier.requests.len(), (0, 0));
}

#[test]
fn a_fill_never_brings_back_what_was_removed_nor_replaces_what_is_newer() {
    let mut it = Fixture::new(1 << 20, 100);
    let (key, other) = (it.key(&A), it.key(&B));
    assert_ne!(key.0[0], other.0[0], "another epoch");
    let read_at = it.tier.epoch(&key);
    drop(it.tier.clear());
    assert!(!it.fill(&A, b"old", read_at));
    assert_eq!(it.lookup(&A), None);

    let read_at = it.tier.epoch(&key);
    assert!(!it.tier.remove(&key));
    assert!(!it.fill(&A, b"old", read_at));

    let read_at = it.tier.epoch(&key);
    assert!(it.update(&A, b"new"));
    assert!(!it.fill(&A, b"old", read_at));
    assert_eq!(it.lookup(&A).as_deref(), Some(&b"new"[..]));

    // The newer value has no room: the older one must not take its place.
    let read_at = it.tier.epoch(&key);
    assert!(!it.update(&A, &vec![0; 2 << 20]));
    assert!(!it.fill(&A, b"old", read_at));
    assert_eq!(it.lookup(&A), None);

    // Fills do not keep each other out, even of one key's epoch.
    let mut it = Fixture::new(1 << 20, 1_000);
    let texts: Vec<[u8; 2]> = (0..500_u16).map(u16::to_le_bytes).collect();
    for prompt in &texts {
        assert!(it.fill(&Request { prompt, ..A }, b"read", 0));
    }

    // Updates of other keys do not matter.
    let read_at = it.tier.epoch(&other);
    assert!(it.update(&A, b"new"));
    assert!(it.fill(&B, b"read", read_at));
    assert_eq!(it.lookup(&B).as_deref(), Some(&b"read"[..]));
}

#[test]
fn several_forms_of_a_request_find_one_entry() {
    let mut it = Fixture::new(1 << 20, 100);
    let key = it.key(&A);
    assert!(it.update(&A, b"one"));
    let texts: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![b' '; usize::from(n) + 1]).collect();
    let forms: Vec<Request<'_>> =
        texts.iter().map(|prompt| Request { prompt, llm_string: b"another", ..A }).collect();
    for form in &forms {
        assert_eq!(it.lookup(form), None);
        let probe = it.fingerprinter.probe(form);
        assert!(it.tier.lookup_key(form, &probe, key, 0).is_some());
        assert_eq!(it.lookup(form).as_deref(), Some(&b"one"[..]));
    }
    // The four newest are remembered; the entry is there for the others by its key.
    let found = forms.iter().filter(|form| it.lookup(form).is_some()).count();
    assert_eq!((found, it.lookup(&A)), (4, None));
    assert_eq!(it.tier.requests.len().1, 1);
    assert!(it.tier.remove(&key));
    assert_eq!((it.tier.bytes(), it.tier.requests.len()), (0, (0, 0)));
}

#[test]
fn the_bounds_hold_and_scopes_go_with_their_last_entry() {
    let mut it = Fixture::new(20_000, 1_000);
    for number in 0..2_000_u32 {
        // Every request with its own llm_string: as if a parameter changed on each call.
        let llm_string = vec![b'm'; 500 + number as usize % 100];
        let prompt = number.to_le_bytes();
        let request = Request { llm_string: &llm_string, prompt: &prompt, namespace: b"" };
        assert!(it.update(&request, &[0; 200]));
        assert!(it.tier.bytes() <= 20_000);
    }
    assert!(it.tier.len() > 10);
    assert!(it.tier.counts().evictions > 1_900);
    drop(it.tier.clear());
    assert_eq!((it.tier.bytes(), it.tier.len()), (0, 0));
}

#[test]
fn removing_every_entry_gives_every_byte_back() {
    let mut it = Fixture::new(1 << 20, 100);
    let requests = [A, B, Request { llm_string: b"other", ..A }];
    for request in &requests {
        assert!(it.update(request, b"value"));
        assert!(it.update(request, b"a longer value")); // a replacement leaks nothing either
    }
    assert_eq!(it.tier.len(), 3);
    for request in &requests {
        let key = it.key(request);
        assert!(it.tier.remove(&key));
    }
    assert_eq!((it.tier.bytes(), it.tier.len()), (0, 0));
    assert_eq!(it.tier.requests.len(), (0, 0));
}

#[test]
fn what_is_larger_than_the_tier_is_refused_and_evicts_nobody() {
    let mut it = Fixture::new(2_000, 100);
    assert!(it.update(&A, b"small"));
    assert!(!it.update(&B, &[0; 2_000]));
    assert_eq!(it.lookup(&A).as_deref(), Some(&b"small"[..]));
    assert_eq!(it.tier.counts().evictions, 0);
}

#[test]
fn an_expired_entry_is_a_miss_counted_once_and_gone() {
    let mut it = Fixture::new(1 << 20, 100);
    assert!(it.update_until(&A, b"one", 10));
    assert!(it.lookup_at(&A, 9).is_some());
    assert_eq!(it.lookup_at(&A, 10), None);
    assert_eq!(it.lookup_at(&A, 10), None);
    assert_eq!((it.tier.counts().expired, it.tier.len()), (1, 0));
}

#[test]
fn what_is_known_is_listed_without_being_used() {
    let mut it = Fixture::new(1 << 20, 3);
    it.update(&A, b"one");
    it.update(&Request { namespace: b"n", ..B }, b"else");
    let known = it.tier.recent(b"", 9, 1 << 20);
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].key, known[0].prompt.as_deref()), (it.key(&A), Some(&b"a"[..])));
    assert!(it.tier.holds(&it.key(&A), 0));
    it.update(&B, b"two");
    let long = vec![b'x'; VERBATIM_MAX + 1];
    it.update(&Request { prompt: &long, ..A }, b"long");
    assert!(!it.tier.holds(&it.key(&A), 0), "it was the least recently used");
    let prompts = |max_bytes| -> Vec<_> {
        it.tier.recent(b"", 9, max_bytes).into_iter().map(|known| known.prompt).collect()
    };
    assert_eq!(prompts(9), [None, Some(Box::from(&b"b"[..]))]);
    assert_eq!(prompts(0), [None], "up to the one that passes the bound");
}

#[test]
fn what_has_expired_is_not_held() {
    let mut it = Fixture::new(1 << 20, 9);
    it.update_until(&A, b"one", 10);
    assert!(it.tier.holds(&it.key(&A), 9));
    assert!(!it.tier.holds(&it.key(&A), 10));
    assert!(!it.tier.holds(&it.key(&B), 0));
}

#[test]
fn what_was_hit_is_told_once_and_not_for_ever() {
    let mut it = Fixture::new(1 << 20, 100);
    it.update(&A, b"a");
    it.update(&B, b"b");
    assert!(it.tier.take_used().is_empty(), "nothing was of use yet");
    for _ in 0..3 {
        it.lookup(&A);
    }
    assert_eq!(it.tier.take_used(), [it.key(&A)]);
    assert!(it.tier.take_used().is_empty());
    it.lookup(&B);
    let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
    it.tier.lookup_key(&A, &probe, key, 0);
    it.tier.remove(&key);
    assert_eq!(it.tier.take_used(), [it.key(&B), key]);
}

#[test]
fn of_many_hits_some_are_told() {
    let mut it = Fixture::new(1 << 24, 10_000);
    let prompts: Vec<_> = (0..3_000).map(|number| format!("{number}").into_bytes()).collect();
    let asked = |prompt| Request { prompt, ..A };
    for prompt in &prompts {
        it.update(&asked(prompt), b"v");
    }
    for _ in 0..2 {
        for prompt in &prompts {
            it.lookup(&asked(prompt));
        }
        assert_eq!(it.tier.take_used().len(), super::USED_MAX);
    }
}
