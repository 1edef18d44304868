//! Parses a request: its canonical form, from which both its key and its outline are made.
#![forbid(unsafe_code)]

use super::frame::Request;
use crate::canonical::{self, Bypass, Form, Ignored, Objects, Reason};
use std::borrow::Cow;
use std::sync::Arc;

/// An `llm_string` that was read.
#[derive(Debug)]
pub struct Model {
    /// As it was written.
    pub text: Box<[u8]>,
    /// What it turned out to be.
    pub form: Form,
    /// Whether it says too little without the model object.
    is_thin: bool,
    /// The settings of its requests that do not count.
    ignored: Arc<Ignored>,
}

impl Model {
    /// Reads an `llm_string`. `ignored`: the settings that do not count, here and beside it.
    ///
    /// # Errors
    /// [`Bypass`], if it does not determine the settings.
    pub fn read(text: &[u8], ignored: &Arc<Ignored>) -> Result<Self, Bypass> {
        let form = canonical::llm_string_without(text, ignored)?;
        let is_thin = matches!(&form, Form::Params(settings) if settings.is_thin());
        Ok(Self { text: text.into(), form, is_thin, ignored: Arc::clone(ignored) })
    }

    /// The digests of the classes that it names, one after the other.
    ///
    /// # Errors
    /// [`Bypass`], if a class has none.
    pub(super) fn schemas(
        &self,
        schema_of: impl Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<Vec<u8>, Bypass> {
        let Form::Params(canonical) = &self.form else { return Ok(Vec::new()) };
        let mut classes: Vec<_> = canonical.classes.iter().collect();
        // Within a set they come in the order of their hashes, which are another process's.
        classes.sort_unstable_by_key(|class| (class.part, &class.name));
        let mut schemas = Vec::new();
        for class in classes {
            let digest = schema_of(&class.name).ok_or_else(|| Bypass {
                reason: Reason::UnknownClass,
                parameter: canonical.parts.get(class.part).map(|part| part.name.clone()),
            })?;
            schemas.extend_from_slice(&digest);
        }
        Ok(schemas)
    }
}

/// What was seen of a request beside its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a> {
    /// What the model object says that the texts do not; `None` if only the texts are known.
    pub supplement: Option<&'a [u8]>,
    /// The prompt is a completion model's: text, whatever it looks like.
    pub is_text: bool,
    /// How an object in the prompt counts.
    pub objects: Objects,
}

/// A request that was read.
pub struct ParsedRequest<'a> {
    /// As it was asked.
    pub request: Request<'a>,
    /// Its `llm_string`, read.
    pub model: &'a Model,
    /// What the model object says beside it, as far as it counts.
    pub supplement: Cow<'a, [u8]>,
    /// The canonical form of its prompt; `None` for one that is no list of messages.
    pub messages: Option<Vec<u8>>,
    /// Whether its prompt is known to be a completion model's.
    pub is_text: bool,
}

impl<'a> ParsedRequest<'a> {
    /// Reads the prompt of a request to `model`.
    ///
    /// # Errors
    /// [`Bypass`], if it does not determine what is asked.
    pub fn read(
        request: Request<'a>,
        context: Context<'a>,
        model: &'a Model,
    ) -> Result<Self, Bypass> {
        if model.is_thin && context.supplement.is_none() {
            let parameter = Some("_type".to_owned());
            return Err(Bypass { reason: Reason::ThinText, parameter });
        }
        let supplement = context.supplement.unwrap_or_default();
        let mut parsed = Self {
            request,
            model,
            supplement: if model.ignored.is_empty() {
                supplement.into()
            } else {
                model.ignored.keep_description(supplement).into()
            },
            messages: None,
            is_text: context.is_text,
        };
        if context.is_text {
            return Ok(parsed);
        }
        let mut messages = Vec::with_capacity(request.prompt.len());
        let are_messages = canonical::prompt(request.prompt, context.objects, &mut messages)
            .map_err(|reason| Bypass { reason, parameter: Some("messages".to_owned()) })?;
        parsed.messages = are_messages.then_some(messages);
        Ok(parsed)
    }
}
