use super::{Playback, Recording};
use crate::codec::Damage;

fn played(bytes: &[u8]) -> Result<Vec<(Vec<u8>, u64)>, Damage> {
    let (mut playback, mut steps) = (Playback::default(), Vec::new());
    while let Some((step, delay)) = playback.next(bytes)? {
        steps.push((step.to_vec(), delay));
    }
    Ok(steps)
}

/// Steps that share much, and little: of few bytes, by a multiplicative generator.
fn steps(seed: u64) -> Vec<(Vec<u8>, u64)> {
    let mut state = seed;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) % below
    };
    (0..draw(20))
        .map(|_| {
            let step = (0..draw(20)).map(|_| u8::try_from(draw(3)).unwrap_or_default()).collect();
            (
                step,
                1_u64.checked_shl(u32::try_from(draw(64)).unwrap_or_default()).unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn what_was_recorded_is_played() {
    for seed in 0..2_000 {
        let (mut recording, steps) = (Recording::default(), steps(seed));
        for (step, delay) in &steps {
            recording.push(step, *delay);
        }
        assert_eq!(recording.len(), steps.len());
        assert_eq!(recording.is_empty(), steps.is_empty());
        assert_eq!(played(recording.bytes()), Ok(steps));
    }
}

#[test]
fn damaged_bytes_are_an_error_or_other_steps() {
    for seed in 0..100 {
        let mut recording = Recording::default();
        for (step, delay) in steps(seed) {
            recording.push(&step, delay);
        }
        let mut bytes = recording.bytes().to_vec();
        for at in 0..bytes.len() {
            bytes[at] ^= 0xff;
            let _ = played(&bytes);
            bytes[at] ^= 0xff;
            let _ = played(&bytes[..at]);
        }
    }
}

#[test]
fn a_step_may_be_played_as_soon_as_it_is_there() {
    let (mut recording, mut playback) = (Recording::default(), Playback::default());
    assert_eq!(playback.next(recording.bytes()), Ok(None));
    recording.push(b"one word", 0);
    assert_eq!(playback.next(recording.bytes()), Ok(Some((&b"one word"[..], 0))));
    assert_eq!(playback.next(recording.bytes()), Ok(None));
    recording.push(b"one other word", 7);
    assert_eq!(playback.next(recording.bytes()), Ok(Some((&b"one other word"[..], 7))));
}

#[test]
fn a_step_like_the_one_before_takes_few_bytes() {
    let mut recording = Recording::default();
    let step = |word| [&[7; 150][..], word, &[8; 150]].concat();
    recording.push(&step(b"Hello"), 0);
    let first = recording.bytes().len();
    for _ in 0..100 {
        recording.push(&step(b" world"), 20);
        recording.push(&step(b" peace"), 20);
    }
    assert!(recording.bytes().len() - first <= 200 * 14);
}

#[test]
fn a_step_cannot_share_more_than_there_was() {
    assert_eq!(played(&[0, 1, 0, 0]), Err(Damage::Malformed));
    assert_eq!(played(&[0, 0, 0, 9, 1]), Err(Damage::Malformed));
    assert_eq!(played(&[0x80]), Err(Damage::Malformed));
    assert_eq!(played(&[0xff; 12]), Err(Damage::Malformed));
}

#[test]
fn a_step_may_be_told_by_what_changed() {
    let mut recording = Recording::default();
    recording.push(b"one word", 0);
    recording.push_changed(4..8, b"sentence", 3);
    recording.push(b"one sentence more", 4);
    let steps = ["one word", "one sentence", "one sentence more"].map(|it| it.as_bytes().to_vec());
    assert_eq!(played(recording.bytes()), Ok(steps.into_iter().zip([0, 3, 4]).collect()));
}
