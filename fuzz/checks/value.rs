//! What must hold of any payload of a value, before Python is asked what it means. The fuzzer checks it,
//! and so does `cargo test`, of payloads that the fuzzer has found.

use llmemo::codec::{Damage, Reader, Token, Writer, open};
use llmemo::request::Key;
use twox_hash::XxHash3_64;

/// The key of the request that all these values answer.
pub const KEY: Key = Key([7; 32]);

/// A whole value around a payload: header and checksum are right, whatever is inside.
///
/// # Panics
/// If the payload is of 4 GiB or more.
#[must_use]
pub fn sealed(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("small");
    let mut bytes = b"llmv\x01\0\0\0".to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend(KEY.0);
    bytes.extend(payload);
    let checksum = XxHash3_64::oneshot(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Checks one payload.
///
/// # Panics
/// If something does not hold.
pub fn check(payload: &[u8]) {
    let bytes = sealed(payload);
    assert_eq!(open(&bytes, &KEY), Ok(payload));
    assert_eq!(open(&bytes, &Key([8; 32])), Err(Damage::WrongKey));
    assert!(open(payload, &KEY).is_err(), "a value by chance");

    let mut reader = Reader::new(payload);
    let mut writer = Writer::new();
    let (mut count, mut has_ints) = (0, false);
    while let Ok(token) = reader.next() {
        writer.put(token);
        has_ints |= matches!(token, Token::Int(_));
        count += 1;
    }
    assert!(count <= payload.len(), "a token of no bytes");
    let written = writer.seal(&KEY).expect("small");
    let written = open(&written, &KEY).expect("whole");
    // Of an integer there is more than one way to write it.
    assert!(has_ints || payload.starts_with(written), "what is read is not what was written");
}
