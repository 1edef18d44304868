//! Who loses what: by the user's will, or for want of room.

use crate::memory::Bounds;
use crate::memory::tier::tests::{A, B, Fixture};
use crate::memory::{Answer, Settings, Tier};
use crate::request::Request;

/// Keys, namespaces and `llm_string`s of a random history.
fn request_of(number: usize) -> ([u8; 1], &'static [u8], &'static [u8]) {
    let namespaces: [&[u8]; 3] = [b"", b"n", b"other"];
    let prompt = u8::try_from(number / 6).expect("small");
    ([prompt], namespaces[number % 3], if number.is_multiple_of(2) { b"l" } else { b"m" })
}

fn invalidate(
    tier: &mut Tier,
    mut is_meant: impl FnMut(&[u8], &[u8]) -> bool,
    before: Option<f64>,
) -> usize {
    let mut sweep = tier.begin_sweep(before);
    while !tier.sweep(&mut sweep, &mut is_meant, || false) {}
    sweep.removed
}

#[test]
fn invalidation_agrees_with_a_list_over_random_histories() {
    for seed in 1..200_u64 {
        let mut it = Fixture::new(1 << 20, 100);
        let mut model: Vec<(usize, f64)> = Vec::new();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % sides
        };
        for step in 0..200_u32 {
            let number = roll(40);
            let (prompt, namespace, llm_string) = request_of(number);
            let request = Request { namespace, llm_string, prompt: &prompt };
            let created = f64::from(step);
            match roll(20) {
                0 => {
                    let (one, other) = (roll(4), roll(3));
                    let before = (roll(2) == 0).then_some(created - 20.0);
                    let is_meant = |namespace: &[u8], llm_string: &[u8]| {
                        (one == 3 || namespace == request_of(one).1)
                            && (other == 2 || llm_string == request_of(other).2)
                    };
                    let len = model.len();
                    model.retain(|(number, created)| {
                        let (_, namespace, llm_string) = request_of(*number);
                        !is_meant(namespace, llm_string) || before.is_some_and(|at| *created >= at)
                    });
                    let epoch = it.tier.epoch(&it.key(&request));
                    assert_eq!(invalidate(&mut it.tier, is_meant, before), len - model.len());
                    assert!(!it.fill(&request, b"read before", epoch));
                }
                1..=8 => {
                    it.keep(&request, Answer { created, ..Answer::lasting(b"one") });
                    model.retain(|entry| entry.0 != number);
                    model.push((number, created));
                }
                _ => {
                    let is_there = model.iter().any(|entry| entry.0 == number);
                    assert_eq!(it.lookup(&request).is_some(), is_there, "seed {seed}, step {step}");
                }
            }
            assert_eq!(it.tier.len(), model.len());
        }
        invalidate(&mut it.tier, |_, _| true, None);
        assert_eq!((it.tier.bytes(), it.tier.requests.len()), (0, (0, 0)));
    }
}

#[test]
fn a_namespace_has_a_bound_of_its_own_and_a_full_tier_takes_from_the_largest() {
    let text = |number: usize| number.to_le_bytes();
    let bounds = Bounds { bytes: 50_000, entries: usize::MAX, group_bytes: 30_000 };
    let mut it = Fixture::new(0, 0);
    it.tier = Tier::new(Settings { bounds, ..Settings::default() });
    let small = Request { namespace: b"small", ..A };
    for number in 0..10 {
        assert!(it.update(&Request { prompt: &text(number), ..small }, &[0; 500]));
    }
    let small_bytes = it.tier.bytes();
    assert!(small_bytes < 12_000);
    for number in 0..1_000 {
        // As if each had a model of its own: that is theirs to pay for, too.
        let llm_string = vec![b'm'; 500 + number];
        for namespace in [&b"one"[..], b"two"] {
            let request = Request { namespace, llm_string: &llm_string, prompt: &text(number) };
            assert!(it.update(&request, &[0; 500]));
            assert!(it.tier.bytes() <= 50_000);
        }
    }
    for number in 0..10 {
        assert!(it.lookup(&Request { prompt: &text(number), ..small }).is_some());
    }
    invalidate(&mut it.tier, |namespace, _| namespace == b"two", None);
    assert!(it.tier.bytes() <= 30_000 + small_bytes, "its own bound holds without the other");
    let too_large = Request { namespace: b"three", ..A };
    assert!(!it.update(&too_large, &vec![0; 30_000]));
}

#[test]
fn a_sweep_leaves_what_came_after_it_began() {
    let text = |number: usize| number.to_le_bytes();
    let mut it = Fixture::new(1 << 30, 1_000_000);
    for number in 0..1_000 {
        it.update(&Request { prompt: &text(number), ..A }, b"old");
    }
    let mut sweep = it.tier.begin_sweep(None);
    let (mut steps, mut touched) = (0, 0);
    while !it.tier.sweep(&mut sweep, |_, _| true, || false) {
        steps += 1;
        if touched < 400 {
            // One that the sweep has passed, one that it has yet to meet, and one that is new.
            for number in [touched, 999 - touched, 1_000 + touched] {
                it.update(&Request { prompt: &text(number), ..A }, b"new");
            }
            touched += 1;
        }
    }
    assert!(steps > 400, "it stops after each entry that it removes");
    for number in 0..1_400 {
        let is_new = !(400..600).contains(&number);
        let found = it.lookup(&Request { prompt: &text(number), ..A });
        assert_eq!(found.as_deref(), is_new.then_some(&b"new"[..]), "{number}");
    }
}

#[test]
fn a_sweep_takes_no_scope_that_came_after_a_clear_for_one_before() {
    let mut it = Fixture::new(1 << 30, 1_000_000);
    it.update(&A, b"old");
    it.update(&B, b"old");
    let mut sweep = it.tier.begin_sweep(None);
    assert!(!it.tier.sweep(&mut sweep, |_, _| true, || false));
    assert_eq!(it.tier.clear().len(), 1);
    it.update(&Request { llm_string: b"other", ..A }, b"new");
    while !it.tier.sweep(&mut sweep, |_, _| true, || true) {}
    assert_eq!((sweep.removed, it.tier.len()), (1, 1));
}

#[test]
fn a_crowd_goes_in_steps() {
    let text = |number: usize| number.to_le_bytes();
    let mut it = Fixture::new(3_000_000, 1_000_000);
    for number in 0..5_000 {
        it.update(&Request { prompt: &text(number), ..A }, b"small");
    }
    let large = Request { prompt: b"large", ..A };
    assert!(it.update(&large, &vec![0; 2_500_000]));
    let (mut steps, evicted) = (0, it.tier.counts().evictions);
    assert!(evicted < 2_000 && it.tier.bytes() > 3_000_000, "it has only begun");
    while !it.tier.relieve(|| false) {
        steps += 1;
    }
    assert!(steps > 1_000 && it.tier.bytes() <= 3_000_000);
    assert!(it.lookup(&large).is_some());
    assert!(it.lookup(&Request { prompt: &text(4_999), ..A }).is_some(), "no more than had to go");
}
