//! Finds objects in a text that only looks like a list of messages.
#![forbid(unsafe_code)]

use super::bypass::Reason;
use super::cursor::{Cursor, contains, has_address};
use super::json::Json;
use super::objects::Objects;

/// Why a text that is no list of messages, which stands for itself, must not: it may nearly be one, as
/// with a class of the user's own, and an object in it must not hide behind that.
pub(super) fn hidden(text: &[u8]) -> Option<Reason> {
    if !contains(text, b"\"not_implemented\"") {
        return None;
    }
    let mut json = Json::new(Cursor::new(text), Objects::ByRepr);
    if json.next_is(b'[') {
        let is_read = json.value(&mut Vec::new()).is_ok();
        json.space();
        if is_read && json.cursor.is_done() {
            return json.object;
        }
        let is_address = has_address(text);
        return Some(if is_address { Reason::Address } else { Reason::UnknownRepr });
    }
    has_address(text).then_some(Reason::Address)
}
