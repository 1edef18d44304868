//! Marks of hits in messages, which are no part of a key.
#![forbid(unsafe_code)]

use super::encoding::{extent, is_str, tag};

/// The member of a message's `response_metadata` by which a cache marks its hits.
const MARK: &str = "llmemo";

/// Takes what a cache says of its hit (`mark_hits`) out of the metadata that begins at `start`: it is
/// another for each hit, and never sent. `LangChain` does not write metadata that is empty, so no
/// value is left if there was nothing else.
pub(super) fn unmark(bytes: &mut Vec<u8>, start: usize) {
    if bytes.get(start) != Some(&tag::DICT) {
        return;
    }
    let whole = bytes.len();
    let mut at = start + 1;
    while bytes.get(at).is_some_and(|next| *next != tag::END) {
        let value = at + extent(&bytes[at..]);
        let end = value + extent(&bytes[value..]);
        if is_str(&bytes[at..value], MARK) {
            bytes.drain(at..end);
        } else {
            at = end;
        }
    }
    if bytes.len() < whole && at == start + 1 {
        bytes.truncate(start);
    }
}
