//! A stored question is read as it was written, or not at all.

use super::{Damage, HEADER, open, seal};
use crate::vectors::pack;

const KEY: [u8; 32] = [7; 32];

fn sealed(question: &str) -> (Vec<u8>, Vec<u8>) {
    let vector = pack(&[0.5, -1.0, 0.25]).expect("has a direction");
    let stored = seal(&KEY, &vector, question).expect("packed");
    (vector, stored)
}

/// With a checksum that matches again.
fn resealed(mut stored: Vec<u8>) -> Vec<u8> {
    let sum = super::checksum(&stored[HEADER..], &KEY);
    stored[HEADER - 8..HEADER].copy_from_slice(&sum);
    stored
}

#[test]
fn what_was_sealed_is_opened() {
    for question in ["", "How far is it?", "Wie weit? 😀\0"] {
        let (vector, stored) = sealed(question);
        assert_eq!(open(&stored, &KEY), Ok((vector.as_slice(), question)));
    }
}

#[test]
fn of_another_key_it_is_refused() {
    let (_, stored) = sealed("How far is it?");
    let mut other = KEY;
    other[31] ^= 1;
    assert_eq!(open(&stored, &other), Err(Damage::Checksum));
}

#[test]
fn no_flipped_bit_and_no_cut_is_overlooked() {
    let (_, stored) = sealed("How far?");
    for at in 0..stored.len() {
        assert!(open(&stored[..at], &KEY).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = stored.clone();
            damaged[at] ^= 1 << bit;
            assert!(open(&damaged, &KEY).is_err(), "bit {bit} of {at}");
        }
    }
    assert!(open(&[stored, vec![0]].concat(), &KEY).is_err());
}

#[test]
fn the_reason_is_told() {
    let (_, stored) = sealed("How far?");
    let with = |at: usize, byte: u8| {
        let mut other = stored.clone();
        other[at] = byte;
        other
    };
    assert_eq!(open(&with(0, b'L'), &KEY), Err(Damage::NotAQuestion));
    assert_eq!(open(&[], &KEY), Err(Damage::NotAQuestion));
    assert_eq!(open(&with(4, 2), &KEY), Err(Damage::UnknownVersion));
    assert_eq!(open(&with(20, 1), &KEY), Err(Damage::Checksum));
    // Whole, but never written by `seal`: lengths, codes and texts that the format does not allow.
    for (at, byte) in [(HEADER, 4), (HEADER + 3, 255), (HEADER + 4, 2), (HEADER + 6, 128)] {
        assert_eq!(open(&resealed(with(at, byte)), &KEY), Err(Damage::Malformed), "{at}");
    }
    let last = stored.len() - 1;
    assert_eq!(open(&resealed(with(last, 0xFF)), &KEY), Err(Damage::Malformed));
    assert_eq!(open(&resealed(stored[..HEADER + 2].to_vec()), &KEY), Err(Damage::Malformed));
}

#[test]
fn only_a_packed_vector_is_sealed() {
    assert_eq!(seal(&KEY, b"\x02\x00\x7F", "How far?"), None);
}
