//! What a request is made of, part by part, in digests too short to be read back: enough to tell
//! two requests apart and to say where they differ.
//!
//! ```text
//! size    what
//! 2       number of settings, little-endian
//! 8 each  digest of the setting's name, digest of its value: first those of the `llm_string`, then
//!         the entries of what the model object says beside it, each in their order
//! 4       number of messages, little-endian; 0 for a prompt that is no list of messages
//! 4       fold of the messages' digests that are left out below: see [`fold`]
//! 4 each  digests of the last messages; of the whole prompt, if it is no list of messages
//! ```
//!
//! A digest is the first 4 bytes of a keyed BLAKE3. So short, two of them may be equal by chance
//! (once in 4 billion): an outline explains, it never decides what is served.
#![forbid(unsafe_code)]

use super::parsed::{Model, ParsedRequest};
use crate::canonical::description::entries;
use crate::canonical::{self, Canonical, Form};

/// Bytes of a digest.
pub const DIGEST: usize = 4;

/// Most settings that an outline has; those after are left out. LangChain writes some 20.
const SETTINGS_MAX: usize = 1_000;

/// Makes outlines under one key.
pub struct Outliner {
    key: [u8; 32],
}

impl Outliner {
    /// `key`: digests of different keys have nothing to do with each other.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The outline of a request, with the digests of its last `tail` messages.
    ///
    /// `settings`: what [`Self::settings`] made. `schema_of`: as for [`crate::request::Keyer::key`]; a
    /// class without one counts by its name.
    pub fn outline(
        &self,
        parsed: &ParsedRequest<'_>,
        settings: Option<&[u8]>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
        tail: usize,
    ) -> Vec<u8> {
        let mut out =
            settings.map_or_else(|| self.settings(parsed.model, schema_of), <[u8]>::to_vec);
        self.supplement(&parsed.supplement, &mut out);
        if let Some(messages) = &parsed.messages {
            let digests: Vec<_> = canonical::messages(messages)
                .map(|message| self.digest(b"message", &[message]))
                .collect();
            let (before, last) = digests.split_at(digests.len().saturating_sub(tail));
            out.extend(u32::try_from(digests.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(before.iter().copied().fold(0, fold).to_le_bytes());
            out.extend(last.as_flattened());
        } else {
            out.extend([0; 8]);
            out.extend(self.digest(b"prompt", &[parsed.request.prompt]));
        }
        out
    }

    /// The part of an outline that an `llm_string` decides, and the schemas of its classes.
    pub fn settings(&self, model: &Model, schema_of: impl Fn(&str) -> Option<[u8; 32]>) -> Vec<u8> {
        let mut out = Vec::new();
        match &model.form {
            Form::Params(canonical) => self.params(canonical, schema_of, &mut out),
            Form::Opaque => {
                out.extend(1_u16.to_le_bytes());
                out.extend(self.setting(b"llm_string", &[&model.text]));
            }
        }
        out
    }

    /// Adds what the model object says to the settings: each entry is one of them.
    fn supplement(&self, supplement: &[u8], out: &mut Vec<u8>) {
        let mut told: Vec<_> = entries(supplement).map(|it| (it.name, it.whole)).collect();
        if told.iter().map(|(_, whole)| whole.len()).sum::<usize>() < supplement.len() {
            told = vec![(b"supplement", supplement)];
        }
        let Some((count, _)) = out.split_first_chunk_mut() else { return };
        let before = u16::from_le_bytes(*count);
        told.truncate(SETTINGS_MAX.saturating_sub(before.into()));
        let added = u16::try_from(told.len()).unwrap_or_default();
        *count = before.saturating_add(added).to_le_bytes();
        for (name, whole) in told {
            out.extend(self.setting(name, &[whole]));
        }
    }

    fn params(
        &self,
        canonical: &Canonical,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
        out: &mut Vec<u8>,
    ) {
        let count = canonical.parts.len().min(SETTINGS_MAX);
        out.extend(u16::try_from(count).unwrap_or_default().to_le_bytes());
        for (at, part) in canonical.parts.iter().take(count).enumerate() {
            let classes = canonical.classes.iter().filter(|class| class.part == at);
            let schemas: Vec<u8> =
                classes.filter_map(|class| schema_of(&class.name)).flatten().collect();
            let value = &canonical.bytes[part.value.clone()];
            out.extend(self.setting(part.name.as_bytes(), &[value, &schemas]));
        }
    }

    /// The digests of a setting: of its name, of its value.
    fn setting(&self, name: &[u8], value: &[&[u8]]) -> impl Iterator<Item = u8> {
        [self.digest(b"name", &[name]), self.digest(b"value", value)].into_iter().flatten()
    }

    /// `kind` and the pieces before the last must be free of each other: none is a prefix of what
    /// another call may start with.
    fn digest(&self, kind: &[u8], pieces: &[&[u8]]) -> [u8; DIGEST] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(kind);
        for piece in pieces {
            hasher.update(piece);
        }
        let mut digest = [0; DIGEST];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }
}

/// One number for any number of digests, in their order.
#[must_use]
pub fn fold(so_far: u32, digest: [u8; DIGEST]) -> u32 {
    // 31, as many hashes of sequences have it: odd, so that no digest is lost.
    so_far.wrapping_mul(31).wrapping_add(u32::from_le_bytes(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::description::Description;
    use crate::request::{Context, Keyer, Request};

    const MODEL: &[u8] = b"[('stop', None), ('temperature', 0.5)]";

    fn prompt(contents: &[&str]) -> Vec<u8> {
        let message = |content: &&str| {
            format!(
                r#"{{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {{"content": "{content}"}}}}"#
            )
        };
        let messages: Vec<_> = contents.iter().map(message).collect();
        format!("[{}]", messages.join(", ")).into_bytes()
    }

    fn outline(llm_string: &[u8], prompt: &[u8], tail: usize) -> Vec<u8> {
        let request = Request { namespace: b"", llm_string, prompt };
        outlined(request, Context::default(), |_| None, tail)
    }

    fn outlined(
        request: Request<'_>,
        context: Context<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
        tail: usize,
    ) -> Vec<u8> {
        let model = Keyer::new(None).read_model(request.llm_string).expect("no bypass");
        let parsed = ParsedRequest::read(request, context, &model).expect("no bypass");
        Outliner::new([7; 32]).outline(&parsed, None, schema_of, tail)
    }

    #[test]
    fn a_setting_that_differs_shows_in_its_own_digest_only() {
        let one = outline(MODEL, &prompt(&["a"]), 8);
        let other = outline(b"[('stop', None), ('temperature', 0.6)]", &prompt(&["a"]), 8);
        let differ: Vec<_> = (0..one.len()).filter(|&at| one[at] != other[at]).collect();
        assert_eq!(one.len(), 2 + 2 * 8 + 8 + 4);
        assert!(!differ.is_empty() && differ.iter().all(|at| (14..18).contains(at)), "{differ:?}");
    }

    #[test]
    fn messages_before_the_tail_are_folded() {
        let whole = outline(MODEL, &prompt(&["a", "b", "c"]), usize::MAX);
        let short = outline(MODEL, &prompt(&["a", "b", "c"]), 2);
        assert_eq!(whole[18..26], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(short[26..], whole[30..]);
        assert_eq!(short[22..26], whole[26..30], "the fold of one digest is the digest");
        assert_eq!(whole, outline(MODEL, &prompt(&["a", "b", "c"]), 3));
        assert_ne!(short[22..26], outline(MODEL, &prompt(&["x", "b", "c"]), 2)[22..26]);
    }

    #[test]
    fn what_is_no_list_of_messages_has_one_digest() {
        let text = outline(b"a model", b"2 + 2?", 8);
        assert_eq!(text.len(), 2 + 8 + 8 + 4);
        assert_eq!(text[..2], [1, 0]);
        assert_ne!(text[10..], outline(b"a model", b"2 + 3?", 8)[10..]);
    }

    #[test]
    fn what_the_model_says_are_settings_of_their_own() {
        let entry = |name: &[u8], digits: &[u8]| {
            let mut told = Description::default();
            told.entry(4, name);
            told.int(digits);
            told.finish()
        };
        let request = Request { namespace: b"", llm_string: MODEL, prompt: b"p" };
        let of = |supplement: &[u8]| {
            let context = Context { supplement: Some(supplement), ..Context::default() };
            outlined(request, context, |_| None, 8)
        };
        let one = of(&[entry(b"a", b"1"), entry(b"b", b"2")].concat());
        let other = of(&[entry(b"a", b"1"), entry(b"b", b"3")].concat());
        assert_eq!(one[..2], [4, 0]);
        let differ: Vec<_> = (0..one.len()).filter(|&at| one[at] != other[at]).collect();
        assert!(!differ.is_empty() && differ.iter().all(|at| (30..34).contains(at)), "{differ:?}");
    }

    #[test]
    fn what_the_model_says_in_another_form_is_one_setting() {
        let request = Request { namespace: b"", llm_string: MODEL, prompt: b"p" };
        let of = |supplement| {
            let context = Context { supplement, ..Context::default() };
            outlined(request, context, |_| None, 8)
        };
        assert_eq!(of(None), of(Some(b"")));
        let (without, one, other) = (of(None), of(Some(b"a")), of(Some(b"b")));
        assert_eq!((without[0], one[0]), (2, 3));
        assert_eq!(one[2..18], without[2..18]);
        assert_eq!(one[26..], without[18..]);
        assert_eq!(one[18..22], other[18..22], "the name");
        assert_ne!(one[22..26], other[22..26], "what it says");
    }

    #[test]
    fn the_schema_of_a_class_is_part_of_its_setting() {
        let request =
            Request { namespace: b"", llm_string: b"[('f', <class 'm.A'>)]", prompt: b"p" };
        let of = |schema: u8| outlined(request, Context::default(), |_| Some([schema; 32]), 8);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1)[..6], of(2)[..6]);
    }
}
