//! Two digests of a request: one to find it fast, one to name it for good.
//!
//! * [`Fingerprint`]: XXH3-128 with a secret of this process. It runs at memory speed, but it is
//!   not collision-resistant (pairs of printable prompts that collide under the default secret
//!   take microseconds to build), so it only ever *finds* a candidate: see [`crate::memory::tier`].
//! * [`Key`]: BLAKE3-256 over the framed request. Whatever leaves the process is named by it.
#![forbid(unsafe_code)]

use crate::canonical::{self, Bypass, Form, Reason};
use crate::request::frame::{self, Part, Request};
use crate::request::outline::Outliner;
use crate::request::parsed::{Asked, Model, Seen};
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use twox_hash::{XxHash3_64, XxHash3_128};

/// BLAKE3 context of unkeyed request keys (BLAKE3 specification, section 2.3).
const KEY_CONTEXT: &str = "llmemo 2026-11 request key";
/// BLAKE3 context under which a user's secret becomes a BLAKE3 key.
const SECRET_CONTEXT: &str = "llmemo 2026-11 secret to request key";
/// BLAKE3 context of the labels by which rows of a store are grouped.
const LABEL_CONTEXT: &str = "llmemo 2026-11 label";

/// The same, of the settings of an `llm_string` that could be read.
const SETTINGS_LABEL_CONTEXT: &str = "llmemo 2026-11 settings label";

/// BLAKE3 context of the key of outlines, without a user's secret and with one.
const OUTLINE_CONTEXT: &str = "llmemo 2026-11 outline";

/// Prompts longer than this are verified by a BLAKE3 digest, not by their bytes.
///
/// Keeping a prompt costs memory once and a `memcmp` per hit, which is about as fast as XXH3;
/// digesting one takes seven times as long. Beyond 1 MiB memory is worth more.
pub const VERBATIM_MAX: usize = 1024 * 1024;

/// The durable name of a request: BLAKE3-256 of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The leading bytes as an integer: a digest is its own hash.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(head)
    }
}

/// Where to look for a request in this process. Equal requests have equal fingerprints; the
/// converse is for the caller to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    prompt: u128,
    scope: u64,
}

impl Fingerprint {
    /// Folded to 64 bits, for a hash table's index.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
    pub fn hash64(&self) -> u64 {
        self.prompt as u64 ^ self.scope
    }

    /// The part that namespace and `llm_string` alone decide.
    #[must_use]
    pub fn scope_hash64(&self) -> u64 {
        self.scope
    }
}

/// Prompts longer than this have a sketch: see [`Keyer::sketch`]. Below, hashing all of one takes
/// less than 0.1 µs.
pub const SKETCH_MIN: usize = 4 * 1024;

/// How much of either end of a prompt its sketch covers, in bytes.
const SKETCH_END: usize = 1024;

/// What it takes to find and verify a request, computed before any lock is taken.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Finds the candidate.
    pub fingerprint: Fingerprint,
    /// Finds it faster, most of the time: see [`Keyer::sketch`].
    pub sketch: Option<Fingerprint>,
    /// Verifies it, where the prompt is longer than [`VERBATIM_MAX`].
    pub digest: Option<[u8; 32]>,
}

/// Derives fingerprints and keys, under this process's and this user's secrets.
pub struct Keyer {
    fingerprint_secret: Box<[u8]>,
    key: Option<[u8; 32]>,
    /// What BLAKE3 makes of [`KEY_CONTEXT`], which takes as long as 64 bytes of a request.
    context: ContextKey,
}

/// What the keys of all requests of a namespace to one model begin with, hashed: half of the time
/// that the key of a prompt of 1 KB would take. See [`Keyer::begin`].
#[derive(Clone, Debug)]
pub struct Begun {
    /// The namespace.
    pub namespace: Box<[u8]>,
    hasher: blake3::Hasher,
}

impl Begun {
    /// [`Keyer::key`] of a request that was read, of this namespace and this model.
    ///
    /// # Errors
    /// [`Bypass`], as there.
    pub fn key(
        &self,
        asked: &Asked<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Key, Bypass> {
        let mut schemas = Vec::new();
        if let Form::Params(canonical) = &asked.model.form {
            let mut classes: Vec<_> = canonical.classes.iter().collect();
            // Within a set they come in the order of their hashes, which are another process's.
            classes.sort_unstable_by_key(|class| (class.part, &class.name));
            for class in classes {
                let digest = schema_of(&class.name).ok_or_else(|| Bypass {
                    reason: Reason::UnknownClass,
                    parameter: canonical.parts.get(class.part).map(|part| part.name.clone()),
                })?;
                schemas.extend_from_slice(&digest);
            }
        }
        let prompt = match &asked.messages {
            Some(messages) => Part::Canonical(messages),
            None => Part::Verbatim(asked.request.prompt),
        };
        let mut hasher = self.hasher.clone();
        frame::part(prompt, updating(&mut hasher));
        frame::part(Part::Verbatim(&schemas), updating(&mut hasher));
        frame::part(Part::Verbatim(asked.supplement), updating(&mut hasher));
        Ok(Key(*hasher.finalize().as_bytes()))
    }
}

fn updating(hasher: &mut blake3::Hasher) -> impl FnMut(&[u8]) {
    |piece| {
        hasher.update(piece);
    }
}

/// The shortest secret that XXH3 takes (`XXH3_SECRET_SIZE_MIN` in xxhash.h), in bytes.
pub const FINGERPRINT_SECRET_MIN: usize = 136;

impl Keyer {
    /// `fingerprint_secret`: random, of this process. `secret`: the user's, of any length; with
    /// one, digests of short prompts cannot be guessed by hashing candidates.
    ///
    /// # Errors
    /// When `fingerprint_secret` is shorter than [`FINGERPRINT_SECRET_MIN`].
    pub fn new(fingerprint_secret: &[u8], secret: Option<&[u8]>) -> Result<Self, &'static str> {
        if fingerprint_secret.len() < FINGERPRINT_SECRET_MIN {
            return Err("the fingerprint secret must have at least 136 bytes");
        }
        Ok(Self {
            fingerprint_secret: fingerprint_secret.into(),
            key: secret.map(|secret| blake3::derive_key(SECRET_CONTEXT, secret)),
            context: hash_derive_key_context(KEY_CONTEXT),
        })
    }

    /// Fingerprint (and digest, for a long prompt). Long work: release the GIL around it.
    #[must_use]
    pub fn probe(&self, request: &Request<'_>) -> Probe {
        let prompt = XxHash3_128::oneshot_with_secret(&self.fingerprint_secret, request.prompt);
        let fingerprint =
            Fingerprint { prompt: prompt.unwrap_or_default(), scope: self.scope(request) };
        let digest =
            (request.prompt.len() > VERBATIM_MAX).then(|| *blake3::hash(request.prompt).as_bytes());
        let sketch = self.sketch(request).map(|sketch| sketch.fingerprint);
        Probe { fingerprint, sketch, digest }
    }

    /// A probe by the length and both ends of a prompt, where these are much less than all of it:
    /// enough to find, most of the time, what was asked before, at a fraction of the reading.
    ///
    /// Conversations differ at their end and documents at their beginning. Requests that differ
    /// only in between share a sketch, so that a miss by it says nothing yet: [`Self::probe`] does.
    #[must_use]
    pub fn sketch(&self, request: &Request<'_>) -> Option<Probe> {
        let len = request.prompt.len();
        if len <= SKETCH_MIN || len > VERBATIM_MAX {
            return None;
        }
        let first = u128::from(self.hash64(&request.prompt[..SKETCH_END]));
        let last = u128::from(self.hash64(&request.prompt[len - SKETCH_END..]));
        let prompt = (first << 64 | last) ^ (len as u128) << 40;
        let fingerprint = Fingerprint { prompt, scope: self.scope(request) };
        Some(Probe { fingerprint, sketch: None, digest: None })
    }

    fn scope(&self, request: &Request<'_>) -> u64 {
        // Rotated, so that swapping namespace and llm_string does not cancel out.
        self.hash64(request.namespace).rotate_left(21) ^ self.hash64(request.llm_string)
    }

    fn hash64(&self, bytes: &[u8]) -> u64 {
        // The secret's length was checked at construction, the only way this can fail.
        XxHash3_64::oneshot_with_secret(&self.fingerprint_secret, bytes).unwrap_or_default()
    }

    /// The durable key of a request, by what it says: see [`crate::canonical`]. Long work: release
    /// the GIL around it.
    ///
    /// `schema_of`: a digest of what a class holds that the `llm_string` names, where it is known.
    ///
    /// # Errors
    /// [`Bypass`], if the request does not determine what is asked: it must not be cached.
    pub fn key(
        &self,
        request: &Request<'_>,
        seen: Seen<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Key, Bypass> {
        let model = Model::read(request.llm_string)?;
        let asked = Asked::read(*request, seen, &model)?;
        self.begin(request.namespace, &model).key(&asked, schema_of)
    }

    /// Begins the keys of all requests of a namespace to a model.
    #[must_use]
    pub fn begin(&self, namespace: &[u8], model: &Model) -> Begun {
        let mut hasher = match &self.key {
            Some(key) => blake3::Hasher::new_keyed(key),
            None => blake3::Hasher::new_from_context_key(&self.context),
        };
        let settings = match &model.form {
            Form::Params(canonical) => Part::Canonical(&canonical.bytes),
            Form::Opaque => Part::Verbatim(&model.text),
        };
        frame::begin(updating(&mut hasher));
        frame::part(Part::Verbatim(namespace), updating(&mut hasher));
        frame::part(settings, updating(&mut hasher));
        Begun { namespace: namespace.into(), hasher }
    }

    /// Makes the outlines of requests: see [`crate::request::outline`].
    #[must_use]
    pub fn outliner(&self) -> Outliner {
        let secret: &[u8] = self.key.as_ref().map_or(&[], |key| key);
        Outliner::new(blake3::derive_key(OUTLINE_CONTEXT, secret))
    }

    /// A short digest of a namespace, by which rows can be found again without the text being in the
    /// store. 16 bytes: no adversary gains by a collision here, since it only groups rows for removal.
    #[must_use]
    pub fn label(&self, text: &[u8]) -> [u8; 16] {
        self.labelled(LABEL_CONTEXT, text)
    }

    /// The same of an `llm_string`, by what it says: requests of one key have one label. Classes that
    /// it names count by their names.
    #[must_use]
    pub fn llm_label(&self, llm_string: &[u8]) -> [u8; 16] {
        match canonical::llm_string(llm_string) {
            Ok(Form::Params(settings)) => self.labelled(SETTINGS_LABEL_CONTEXT, &settings.bytes),
            _ => self.label(llm_string),
        }
    }

    fn labelled(&self, context: &str, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = match &self.key {
            Some(key) => {
                let mut hasher = blake3::Hasher::new_keyed(key);
                hasher.update(context.as_bytes());
                hasher
            }
            None => blake3::Hasher::new_derive_key(context),
        };
        let mut label = [0; 16];
        hasher.update(bytes).finalize_xof().fill(&mut label);
        label
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
