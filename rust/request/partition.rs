//! Partitions of semantic lookups: requests that differ in nothing but their question.
//!
//! A semantic lookup compares questions within one partition, and never across two. So all that
//! counts in a [`Key`](super::Key) counts in a [`Partition`], but for the text of the question.
#![forbid(unsafe_code)]

use super::Request;
use super::frame::Part;
use super::key::{KeyPrefix, Keyer};
use super::parsed::{Context, ParsedRequest};
use crate::canonical::{Bypass, take_question};

/// A request, apart from its question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// BLAKE3-256 of the frame, with the question taken out. No key is equal to it.
    pub digest: [u8; 32],
    /// The question.
    pub question: String,
}

impl KeyPrefix {
    /// [`Keyer::partition`] of a request that was read, of this namespace and this model.
    ///
    /// # Errors
    /// [`Bypass`], as there.
    pub fn partition(
        &self,
        mut parsed: ParsedRequest<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Option<Partition>, Bypass> {
        // First of all, so that what has no key has no partition.
        let schemas = parsed.model.schemas(schema_of)?;
        Ok(take(&mut parsed).map(|question| {
            let rest = parsed.messages.as_deref().unwrap_or_default();
            let digest = self.digest(Part::Open(rest), &schemas, &parsed.supplement);
            Partition { digest, question }
        }))
    }
}

impl Keyer {
    /// The partition of a request, and its question; `None` if it has no question. Long work:
    /// release the GIL around it.
    ///
    /// The question is the text of the last message, if that is a human's, or the whole prompt of a
    /// completion model. See `docs/keys.md`.
    ///
    /// `schema_of`: as for [`Self::key`].
    ///
    /// # Errors
    /// [`Bypass`], exactly where [`Self::key`] fails.
    pub fn partition(
        &self,
        request: &Request<'_>,
        context: Context<'_>,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Option<Partition>, Bypass> {
        let model = self.read_model(request.llm_string)?;
        let parsed = ParsedRequest::read(*request, context, &model)?;
        self.key_prefix(request.namespace, &model).partition(parsed, schema_of)
    }
}

/// Takes the question out of a request.
fn take(parsed: &mut ParsedRequest<'_>) -> Option<String> {
    if let Some(messages) = &mut parsed.messages {
        return take_question(messages);
    }
    let prompt = parsed.request.prompt;
    // Messages that could not be read, those of a user's class for instance: a history is in them.
    let may_be_messages = !parsed.is_text && prompt.trim_ascii_start().starts_with(b"[");
    if prompt.is_empty() || may_be_messages {
        return None;
    }
    std::str::from_utf8(prompt).ok().map(str::to_owned)
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
