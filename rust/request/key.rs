//! Names a request for good: its durable key, the same in every process.
//!
//! A [`Key`] is the BLAKE3-256 of the framed request. Whatever leaves the process is named by it.
#![forbid(unsafe_code)]

use super::frame::{self, Part, Request};
use super::parsed::{Context, Model, ParsedRequest};
use crate::canonical::{self, Bypass, Form, Ignored};
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use std::sync::Arc;

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

/// Derives keys and labels, under the user's secret if there is one.
pub struct Keyer {
    key: Option<[u8; 32]>,
    /// What BLAKE3 makes of [`KEY_CONTEXT`], which takes as long as 64 bytes of a request.
    context: ContextKey,
    /// The settings that do not count.
    ignored: Arc<Ignored>,
}

/// What the keys of all requests of a namespace to one model begin with, hashed: half of the time
/// that the key of a prompt of 1 KB would take. See [`Keyer::key_prefix`].
#[derive(Clone, Debug)]
pub struct KeyPrefix {
    /// The namespace.
    pub namespace: Box<[u8]>,
    hasher: blake3::Hasher,
}

impl KeyPrefix {
    /// [`Keyer::key`] of a request that was read, of this namespace and this model.
    ///
    /// # Errors
    /// [`Bypass`], as there.
    pub fn key(
        &self,
        parsed: &ParsedRequest<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Key, Bypass> {
        let schemas = parsed.model.schemas(schema_of)?;
        let prompt = match &parsed.messages {
            Some(messages) => Part::Canonical(messages),
            None => Part::Verbatim(parsed.request.prompt),
        };
        Ok(Key(self.digest(prompt, &schemas, &parsed.supplement)))
    }

    /// The digest of a frame that begins with this.
    pub(super) fn digest(&self, prompt: Part<'_>, schemas: &[u8], supplement: &[u8]) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        frame::part(prompt, updating(&mut hasher));
        frame::part(Part::Verbatim(schemas), updating(&mut hasher));
        frame::part(Part::Verbatim(supplement), updating(&mut hasher));
        *hasher.finalize().as_bytes()
    }
}

fn updating(hasher: &mut blake3::Hasher) -> impl FnMut(&[u8]) {
    |piece| {
        hasher.update(piece);
    }
}

impl Keyer {
    /// `secret`: the user's, of any length; with one, digests of short prompts cannot be guessed by
    /// hashing candidates.
    #[must_use]
    pub fn new(secret: Option<&[u8]>) -> Self {
        Self {
            key: secret.map(|secret| blake3::derive_key(SECRET_CONTEXT, secret)),
            context: hash_derive_key_context(KEY_CONTEXT),
            ignored: Arc::default(),
        }
    }

    /// The same, of requests of which these settings do not count.
    #[must_use]
    pub fn ignoring(self, ignored: Ignored) -> Self {
        Self { ignored: Arc::new(ignored), ..self }
    }

    /// Reads an `llm_string`, without the settings that do not count.
    ///
    /// # Errors
    /// [`Bypass`], if it does not determine the settings.
    pub fn read_model(&self, llm_string: &[u8]) -> Result<Model, Bypass> {
        Model::read(llm_string, &self.ignored)
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
        context: Context<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Key, Bypass> {
        let model = self.read_model(request.llm_string)?;
        let parsed = ParsedRequest::read(*request, context, &model)?;
        self.key_prefix(request.namespace, &model).key(&parsed, schema_of)
    }

    /// Begins the keys of all requests of a namespace to a model.
    #[must_use]
    pub fn key_prefix(&self, namespace: &[u8], model: &Model) -> KeyPrefix {
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
        KeyPrefix { namespace: namespace.into(), hasher }
    }

    /// The key of outlines: see [`super::outline::Outliner`].
    #[must_use]
    pub fn outline_key(&self) -> [u8; 32] {
        let secret: &[u8] = self.key.as_ref().map_or(&[], |key| key);
        blake3::derive_key(OUTLINE_CONTEXT, secret)
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
        match canonical::llm_string_without(llm_string, &self.ignored) {
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
