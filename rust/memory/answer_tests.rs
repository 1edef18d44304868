//! What an entry's times and its worth bring about.

use crate::memory::early_refresh::EarlyRefresh;
use crate::memory::tier::tests::{A, B, Fixture};
use crate::memory::{About, Answer, FOREVER, Found, Worth};
use crate::request::Request;

const COSTLY: Worth = Worth { input_tokens: 10, output_tokens: 3, money: 0.5 };

/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[test]
fn near_its_end_an_answer_is_made_anew_by_some_while_the_others_hit() {
    let (expires, early) = (1_000 * SECOND, SECOND);
    let refused = |before: u64| {
        let mut it = Fixture::new(1 << 20, 9);
        it.keep(&A, Answer { expires, early, ..Answer::lasting(b"one") });
        let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
        let mut refused = 0;
        for _ in 0..20_000 {
            let found = it.tier.lookup(&A, &probe, expires - before);
            refused += u64::from(found == Found::Due);
            assert!(found != Found::Nothing);
        }
        // Who was refused looks by the key, and so does who only happened to come then.
        assert!(it.tier.lookup_key(&A, &probe, key, expires - before).is_some());
        assert_eq!(it.tier.counts().hits, 20_001 - refused);
        refused
    };
    // The chance is exp(-before / early).
    assert!((7_000..7_700).contains(&refused(SECOND)), "{}", refused(SECOND));
    assert!((2_450..2_960).contains(&refused(2 * SECOND)), "{}", refused(2 * SECOND));
    assert!(refused(1) > 19_990);
    assert_eq!(refused(37 * SECOND), 0);
}

#[test]
fn the_sequence_differs_by_seed_and_by_time() {
    let draws = |seed, before: u64| -> Vec<bool> {
        let answer = Answer { expires: 100 * SECOND, early: SECOND, ..Answer::lasting(b"") };
        let mut refresh = EarlyRefresh::new(seed);
        (0..64).map(|_| refresh.is_due(&answer, 100 * SECOND - before)).collect()
    };
    assert_eq!(draws(1, SECOND), draws(1, SECOND));
    assert_ne!(draws(1, SECOND), draws(2, SECOND));
    assert_ne!(draws(1, SECOND), draws(1, SECOND + 1));
}

#[test]
fn what_never_expires_or_has_no_early_is_never_refused() {
    for (expires, early, now) in
        [(FOREVER, SECOND, u64::MAX - 1), (100, 0, 99), (FOREVER, u64::MAX, 0)]
    {
        let mut it = Fixture::new(1 << 20, 9);
        it.keep(&A, Answer { expires, early, ..Answer::lasting(b"one") });
        assert!((0..1_000).all(|_| it.lookup_at(&A, now).is_some()));
    }
}

#[test]
fn an_expired_entry_stays_for_its_grace_as_a_miss_counted_once() {
    let mut it = Fixture::with_grace(5);
    let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
    it.keep(&A, Answer { expires: 10, created: 1.5, ..Answer::lasting(b"one") });
    let about = |is_due| Some(About { created: 1.5, expires: 10, is_due });
    assert_eq!(it.tier.about(&key, 9), about(false));
    assert_eq!(it.tier.known(&A, &probe, 9), Some(key));
    assert_eq!(it.tier.known(&B, &it.fingerprinter.probe(&B), 9), None);
    for now in 10..15 {
        assert_eq!(it.lookup_at(&A, now), None);
        assert_eq!(it.tier.lookup_key(&A, &probe, key, now), None);
        assert_eq!(it.tier.known(&A, &probe, now), None);
        assert_eq!(it.tier.about(&key, now), about(true));
        let stale = it.tier.stale(&A, &probe, key, now).map(|hit| hit.value.to_vec());
        assert_eq!(stale.as_deref(), Some(&b"one"[..]));
        assert_eq!((it.tier.counts().expired, it.tier.counts().hits), (1, 0));
    }
    assert_eq!(it.tier.about(&key, 15), None);
    assert_eq!(it.tier.stale(&A, &probe, key, 15), None);
    assert_eq!((it.tier.counts().expired, it.tier.len()), (1, 0));
}

#[test]
fn a_fill_takes_the_place_of_what_is_over_and_of_nothing_else() {
    let mut it = Fixture::with_grace(50);
    let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
    it.update_until(&A, b"one", 10);
    let epoch = it.tier.epoch(&key);
    let read = |expires| Answer { expires, ..Answer::lasting(b"read") };
    assert!(!it.tier.fill(&A, &probe, key, read(20), epoch, 9), "the one here is not over");
    assert!(!it.tier.fill(&A, &probe, key, read(10), epoch, 11), "it is the same");
    assert_eq!((it.tier.len(), it.tier.counts().expired), (1, 1));
    assert!(it.tier.fill(&A, &probe, key, read(20), epoch, 11));
    assert_eq!(it.lookup_at(&A, 11).as_deref(), Some(&b"read"[..]));
    assert_eq!((it.tier.len(), it.tier.requests.len()), (1, (1, 1)));
}

#[test]
fn hits_add_up_what_they_save() {
    let mut it = Fixture::with_grace(5);
    let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
    it.keep(&A, Answer { expires: 10, worth: COSTLY, ..Answer::lasting(b"one") });
    it.update(&B, b"worth nothing");
    for _ in 0..3 {
        it.lookup(&A);
        it.lookup(&B);
    }
    let hit = it.tier.lookup_key(&A, &probe, key, 0).expect("it is there");
    it.tier.stale(&A, &probe, key, 0);
    it.lookup_at(&A, 10);
    let saved = Worth { input_tokens: 40, output_tokens: 12, money: 2.0 };
    assert_eq!((it.tier.counts().hits, it.tier.counts().saved), (7, saved));
    it.tier.uncount(&hit);
    let saved = Worth { input_tokens: 30, output_tokens: 9, money: 1.5 };
    assert_eq!((it.tier.counts().hits, it.tier.counts().saved), (6, saved));
}

#[test]
fn a_form_that_is_known_is_not_remembered_twice() {
    let mut it = Fixture::new(1 << 20, 9);
    let (probe, key) = (it.fingerprinter.probe(&A), it.key(&A));
    it.update(&A, b"one");
    let other = Request { prompt: b"a ", ..A };
    assert!(it.tier.lookup_key(&other, &it.fingerprinter.probe(&other), key, 0).is_some());
    let bytes = it.tier.bytes();
    for _ in 0..9 {
        assert!(it.tier.lookup_key(&A, &probe, key, 0).is_some());
    }
    assert_eq!(it.tier.bytes(), bytes);
    assert!(it.lookup(&other).is_some());
}
