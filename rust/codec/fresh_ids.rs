//! New message ids in the place of those that LangChain itself made.
//!
//! LangChain names a message after the run that made it: `lc_run--<uuid>`, `lc_run--<uuid>-0`, and
//! `run-<uuid>` in its earlier versions. An answer that is served a second time is another message,
//! and needs another name: `LangGraph` takes two messages of one id for two states of one message.
//! What a provider called its answer means something to the provider, and stays; unless the answer says
//! it a second time, as those of `OpenAI`'s Responses API do.
#![forbid(unsafe_code)]

use twox_hash::XxHash3_128;

/// How LangChain's own ids begin; it tells them apart by the same prefixes.
const PREFIXES: [&str; 2] = ["lc_run-", "run-"];

/// How a message is named to which LangChain gives the first id: as its `lc_run--<uuid>`.
const NAMED: &str = "lc_run--";

/// How ids of `OpenAI`'s responses begin.
const RESPONSE: &str = "resp_";

/// What `response_metadata` calls an answer of the Responses API.
const OBJECT: &str = "response";

/// Characters of a UUID.
const UUID: usize = 36;

/// Where a UUID has its hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Where it has its bytes.
const BYTES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// Room for an id: a prefix, a UUID, and what may follow it.
const LEN_MAX: usize = 64;

/// An odd number whose multiples are spread evenly: 2^128 by the golden ratio.
const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// An id as text.
pub struct Id {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Id {
    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }
}

/// Of the `count`-th hit in a process that drew `seed` at random: no other hit's.
#[must_use]
pub fn nonce(seed: u128, count: u64) -> u128 {
    seed.wrapping_add(u128::from(count).wrapping_mul(STEP))
}

/// The id that takes the place of `id` in the hit of this nonce: of the same form, with another
/// UUID, a random one (version 4). Equal ids stay equal, and so do the UUIDs of ids that differ
/// only behind it. None if LangChain did not make it.
#[must_use]
pub fn fresh(id: &str, nonce: u128) -> Option<Id> {
    let rest = PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix))?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let prefix = &id[..id.len() - rest.len()];
    let (old, suffix) = match rest.split_at_checked(UUID) {
        Some((uuid, suffix)) if is_uuid(uuid) && id.len() <= LEN_MAX => (uuid, suffix),
        _ => (rest, ""),
    };
    let mut new = Id { bytes: [0; LEN_MAX], len: 0 };
    new.push(prefix.as_bytes());
    new.push(&uuid(XxHash3_128::oneshot(old.as_bytes()) ^ nonce));
    new.push(suffix.as_bytes());
    Some(new)
}

/// Whether a message's id may be another one though the provider made it: it is that of a response,
/// and `response_metadata` has it, too, from where it is sent (`previous_response_id`). Not so the
/// ids `msg_…` of `output_version="v0"`: these are sent with the message.
#[must_use]
pub fn is_said_twice(id: &str, response: &str, object: Option<&str>) -> bool {
    id == response && (response.starts_with(RESPONSE) || object == Some(OBJECT))
}

/// The id that takes the place of a provider's: as LangChain would name the message. Equal ones
/// stay equal.
#[must_use]
pub fn renamed(id: &str, nonce: u128) -> Id {
    let mut new = Id { bytes: [0; LEN_MAX], len: 0 };
    new.push(NAMED.as_bytes());
    new.push(&uuid(XxHash3_128::oneshot(id.as_bytes()) ^ nonce));
    new
}

/// Whether a text of that length has the hyphens of a UUID: as much as there is to know it by.
fn is_uuid(text: &str) -> bool {
    HYPHENS.iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'))
}

/// The text of a UUID of version 4 (RFC 9562, 5.4) with these bits, but for the six that say so.
fn uuid(bits: u128) -> [u8; UUID] {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = (bits & !(VERSION | VARIANT)) | 0x4 << 76 | 0b10 << 62;
    let mut text = [b'-'; UUID];
    for (at, byte) in BYTES.into_iter().zip(bits.to_be_bytes()) {
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "019ac5a3-2f0b-7d20-9c53-9b5a3c2f7e11";

    fn text(id: &str, nonce: u128) -> Option<String> {
        fresh(id, nonce).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
    }

    #[test]
    fn what_langchain_made_gets_another_uuid_in_the_same_place() {
        for (prefix, suffix) in [
            ("lc_run--", "-0"),
            ("lc_run--", ""),
            ("lc_run-", ""),
            ("run-", "-12"),
            ("run--", "-0"),
        ] {
            let new = text(&format!("{prefix}{OLD}{suffix}"), 7).unwrap_or_default();
            let uuid = new.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            let uuid = uuid.unwrap_or_default();
            assert!(is_uuid(uuid) && uuid != OLD, "{new}");
            assert_eq!((&uuid[14..15], "89ab".contains(&uuid[19..20])), ("4", true), "{new}");
        }
    }

    #[test]
    fn what_has_the_prefix_and_no_uuid_gets_one() {
        let long = "x".repeat(5000);
        for rest in ["", "7", "-7", &OLD[..35], &long, "\u{1f980}\u{1f980}\u{1f980}\u{1f980}"] {
            let new = text(&format!("run-{rest}"), 7).unwrap_or_default();
            let (prefix, uuid) = new.split_at(new.len() - UUID);
            assert!(is_uuid(uuid) && ["run-", "run--"].contains(&prefix), "{new}");
        }
    }

    #[test]
    fn what_a_provider_made_stays() {
        let ids = ["", "r", "run", "run_1", "msg_run-1", "Run-1", "chatcmpl-1", "lc_run_1", "lc_1"];
        for id in ids.into_iter().chain([OLD]) {
            assert_eq!(text(id, 7), None, "{id}");
        }
    }

    #[test]
    fn what_names_a_response_is_said_twice() {
        for (id, response, object, expected) in [
            ("resp_1", "resp_1", None, true),
            ("resp_1", "resp_1", Some("response"), true),
            ("7f3a", "7f3a", Some("response"), true),
            ("resp_1", "resp_2", Some("response"), false),
            ("7f3a", "7f3a", None, false),
            ("chatcmpl-1", "chatcmpl-1", Some("chat.completion"), false),
            ("msg_1", "msg_1", None, false),
            ("msg_1", "resp_1", Some("response"), false),
        ] {
            assert_eq!(is_said_twice(id, response, object), expected, "{id} {response}");
        }
    }

    #[test]
    fn a_response_is_named_as_langchain_would() {
        let name =
            |id: &str, nonce| String::from_utf8_lossy(renamed(id, nonce).as_bytes()).into_owned();
        let new = name(&"resp_".repeat(100), 7);
        assert!(new.strip_prefix("lc_run--").is_some_and(is_uuid), "{new}");
        assert_eq!(name("resp_1", 7), name("resp_1", 7));
        assert!(name("resp_1", 7) != name("resp_2", 7) && name("resp_1", 7) != name("resp_1", 8));
    }

    #[test]
    fn equal_ids_stay_equal_within_a_hit_and_nowhere_else() {
        let ids = ["lc_run--1", "lc_run--2", "lc_run--1"].map(|id| text(id, 7));
        assert_eq!(ids[0], ids[2]);
        assert_ne!(ids[0], ids[1]);
        let uuids = ["", "-0", "-1"]
            .map(|end| text(&format!("run-{OLD}{end}"), 7).map(|new| new[4..4 + UUID].to_owned()));
        assert!(uuids.iter().all(|uuid| *uuid == uuids[0]));
        let seen: std::collections::HashSet<_> =
            (0..10_000).map(|count| text("lc_run--1", nonce(u128::MAX, count))).collect();
        assert_eq!(seen.len(), 10_000);
    }
}
