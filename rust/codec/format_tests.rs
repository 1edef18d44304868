//! The value format: what was written is read, and nothing else is.

use super::{TRAILER, is_for_streams, recording};
use crate::codec::{Damage, Reader, Token, Writer, open};
use crate::request::Key;

const KEY: Key = Key([3; 32]);

fn sample() -> Vec<u8> {
    let mut writer = Writer::new();
    for token in tokens() {
        writer.put(token);
    }
    writer.seal(&KEY).expect("small")
}

/// The next token, whether or not it is a rare one.
fn next<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Damage> {
    match reader.next()? {
        Token::Rare(tag) => reader.rare(tag),
        token => Ok(token),
    }
}

fn tokens() -> Vec<Token<'static>> {
    let mut tokens = vec![
        Token::List(3),
        Token::None,
        Token::Bool(true),
        Token::Bool(false),
        Token::Float(-0.0),
        Token::Float(f64::INFINITY),
        Token::Str("naïve 🦀".as_bytes()),
        Token::StrSurrogates(b"\xed\xa0\x80"),
        Token::Bytes(b"\0\xff"),
        Token::BigInt(&[0, 0, 0, 0, 0, 0, 0, 0, 1]),
        Token::Word(0),
        Token::Word(127),
        Token::Tuple(0),
        Token::Dict(1),
        Token::Object(9, 1),
        Token::Text,
        Token::SameText,
        Token::Set(2),
        Token::FrozenSet(0),
        Token::Plain(255),
        Token::Class(0),
        Token::Instance(255),
    ];
    let ints = [0, 1, -1, 63, -64, 64, 127, 128, i64::MAX, i64::MIN, 1 << 62, -(1 << 40)];
    tokens.extend(ints.map(Token::Int));
    tokens
}

#[test]
fn tokens_come_back_as_they_went() {
    let bytes = sample();
    let mut reader = Reader::new(open(&bytes, &KEY).expect("whole"));
    for token in tokens() {
        assert_eq!(next(&mut reader), Ok(token));
    }
    assert!(reader.is_done());
    assert_eq!(reader.next(), Err(Damage::Malformed));
}

#[test]
fn a_word_can_be_asked_for() {
    let mut reader = Reader::new(&[0x81, 0, 0x82]);
    assert_eq!((reader.next_word(), reader.next_word()), (Some(1), None));
    assert_eq!(reader.next(), Ok(Token::None));
    assert_eq!((reader.next_word(), reader.next_word()), (Some(2), None));
}

#[test]
fn floats_keep_their_bits() {
    let bits = 0x7ff8_0000_0000_0123_u64; // a NaN with a payload
    let mut writer = Writer::new();
    writer.put(Token::Float(f64::from_bits(bits)));
    let bytes = writer.seal(&KEY).expect("small");
    let Ok(Token::Float(float)) = Reader::new(open(&bytes, &KEY).expect("whole")).next() else {
        panic!("not a float");
    };
    assert_eq!(float.to_bits(), bits);
}

#[test]
fn every_flipped_bit_and_every_truncation_is_noticed() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&damaged, &KEY).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len], &KEY).is_err(), "cut to {len}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(open(&longer, &KEY), Err(Damage::NotAValue));
}

#[test]
fn another_key_or_version_is_told_from_damage() {
    let mut bytes = sample();
    assert_eq!(open(&bytes, &Key([4; 32])), Err(Damage::WrongKey));
    bytes[4] = 2;
    assert_eq!(open(&bytes, &KEY), Err(Damage::UnknownVersion));
}

#[test]
fn lengths_that_the_bytes_cannot_hold_are_refused() {
    // tag, then a length of 2^32 - 1, then one byte
    for tag in [4, 6, 7, 8, 9, 10, 11, 12, 15, 16] {
        let payload = [tag, 0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(next(&mut Reader::new(&payload)), Err(Damage::Malformed), "tag {tag}");
    }
    // a dict of two pairs needs four bytes
    assert_eq!(Reader::new(&[11, 2, 0, 0, 0, 0, 0, 0]).next(), Err(Damage::Malformed));
    // an integer that never ends, and unknown tags
    assert_eq!(Reader::new(&[3; 1]).next(), Err(Damage::Malformed));
    assert_eq!(
        Reader::new(&[3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]).next(),
        Err(Damage::Malformed)
    );
    for tag in [17, 18, 19] {
        assert_eq!(next(&mut Reader::new(&[tag])), Err(Damage::Malformed), "tag {tag}");
    }
    for tag in 20..0x80 {
        assert_eq!(next(&mut Reader::new(&[tag, 0, 0, 0, 0])), Err(Damage::Malformed), "tag {tag}");
    }
}

#[test]
fn a_recording_is_no_part_of_the_payload() {
    let mut writer = Writer::new();
    writer.put(Token::Bool(true));
    let payload = writer.payload().to_vec();
    let mut bytes = writer.seal_recorded(&KEY, b"recorded", true).expect("small");
    assert_eq!(open(&bytes, &KEY), Ok(&payload[..]));
    assert_eq!(super::payload(&bytes), payload);
    assert_eq!(recording(&bytes), Some(&b"recorded"[..]));
    assert!(is_for_streams(&bytes));
    // One that would begin before the payload.
    let (end, len) = (bytes.len() - TRAILER, bytes.len());
    bytes[end - 4..end].copy_from_slice(&1000_u32.to_le_bytes());
    let checksum = twox_hash::XxHash3_64::oneshot(&bytes[..end]).to_le_bytes();
    bytes[end..len].copy_from_slice(&checksum);
    assert_eq!(open(&bytes, &KEY), Err(Damage::Malformed));
    assert_eq!(recording(&bytes), None);
}

#[test]
fn most_values_have_no_recording() {
    let mut writer = Writer::new();
    writer.put(Token::Bool(true));
    let bytes = writer.seal(&KEY).expect("small");
    assert_eq!(recording(&bytes), None);
    assert!(!is_for_streams(&bytes));
    assert_eq!(recording(b"short"), None);
}
