//! A request that was read: its canonical form, from which both its key and its outline are made.
//!
//! Thousands of requests share an `llm_string`, and reading one takes as long as all the rest of a
//! key. So the last few are remembered, found by equality: [`Models`].
#![forbid(unsafe_code)]

use crate::canonical::{self, Bypass, Form, Objects, Reason};
use crate::request::frame::Request;
use crate::request::key::Begun;
use std::sync::Arc;

/// How many `llm_string`s are remembered.
const MODELS: usize = 8;

/// The longest that is (bytes), so that all of them are no burden on memory.
const LONGEST: usize = 64 * 1024;

/// An `llm_string` that was read.
#[derive(Debug)]
pub struct Model {
    /// As it was written.
    pub text: Box<[u8]>,
    /// What it turned out to be.
    pub form: Form,
    /// Whether it says too little without the model object.
    is_thin: bool,
}

impl Model {
    /// Reads an `llm_string`.
    ///
    /// # Errors
    /// [`Bypass`], if it does not determine the settings.
    pub fn read(text: &[u8]) -> Result<Self, Bypass> {
        let form = canonical::llm_string(text)?;
        let is_thin = matches!(&form, Form::Params(settings) if settings.is_thin());
        Ok(Self { text: text.into(), form, is_thin })
    }
}

/// Digests of a model that go with each record: they depend on it alone, and on the secret.
#[derive(Debug)]
pub struct Digests {
    /// The label of the whole.
    pub label: [u8; 16],
    /// What an outline begins with; `None` where that takes the schemas of classes.
    pub settings: Option<Vec<u8>>,
}

/// What was seen of a request beside its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What the model object says that the texts do not; `None` if only the texts are known.
    pub supplement: Option<&'a [u8]>,
    /// The prompt is a completion model's: text, whatever it looks like.
    pub is_text: bool,
    /// How an object in the prompt counts.
    pub objects: Objects,
}

/// A request that was read.
pub struct Asked<'a> {
    /// As it was asked.
    pub request: Request<'a>,
    /// Its `llm_string`, read.
    pub model: &'a Model,
    /// What the model object says beside it.
    pub supplement: &'a [u8],
    /// The canonical form of its prompt; `None` for one that is no list of messages.
    pub messages: Option<Vec<u8>>,
}

impl<'a> Asked<'a> {
    /// Reads the prompt of a request to `model`.
    ///
    /// # Errors
    /// [`Bypass`], if it does not determine what is asked.
    pub fn read(request: Request<'a>, seen: Seen<'a>, model: &'a Model) -> Result<Self, Bypass> {
        if model.is_thin && seen.supplement.is_none() {
            let parameter = Some("_type".to_owned());
            return Err(Bypass { reason: Reason::ThinText, parameter });
        }
        let mut asked = Self {
            request,
            model,
            supplement: seen.supplement.unwrap_or_default(),
            messages: None,
        };
        if seen.is_text {
            return Ok(asked);
        }
        let mut messages = Vec::with_capacity(request.prompt.len());
        let are_messages = canonical::prompt(request.prompt, seen.objects, &mut messages)
            .map_err(|reason| Bypass { reason, parameter: Some("messages".to_owned()) })?;
        asked.messages = are_messages.then_some(messages);
        Ok(asked)
    }
}

/// A model, and what was made of it: all of it depends on the secret.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The model.
    pub model: Arc<Model>,
    /// The keys of requests to it, of the namespace that asked last.
    pub begun: Arc<Begun>,
    /// Its digests, once they were asked for.
    pub digests: Option<Arc<Digests>>,
}

/// The models that were asked last, the last one first.
#[derive(Default)]
pub struct Models(Vec<Remembered>);

impl Models {
    /// The model of exactly this `llm_string`, if it is remembered.
    pub fn get(&mut self, text: &[u8]) -> Option<Remembered> {
        let at = self.0.iter().position(|it| *it.model.text == *text)?;
        self.0[..=at].rotate_right(1);
        self.0.first().cloned()
    }

    /// Remembers a model, in the place of the one that was not asked for longest.
    pub fn put(&mut self, new: Remembered) {
        if new.model.text.len() > LONGEST {
            return;
        }
        // Nearly always it is the one that was found just now.
        if let Some(first) = self.0.first_mut()
            && Arc::ptr_eq(&first.model, &new.model)
        {
            *first = new;
            return;
        }
        self.0.retain(|it| it.model.text != new.model.text);
        self.0.truncate(MODELS - 1);
        self.0.insert(0, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::key::Keyer;

    fn model(text: &[u8]) -> Remembered {
        let keyer = Keyer::new(&[7; 136], None).expect("the secret is long enough");
        let model = Model::read(text).expect("no bypass");
        let begun = Arc::new(keyer.begin(b"", &model));
        Remembered { model: Arc::new(model), begun, digests: None }
    }

    #[test]
    fn a_model_is_found_by_all_of_its_text_and_the_last_few_stay() {
        let mut models = Models::default();
        let texts: Vec<_> = (0..=MODELS).map(|at| format!("[('n', {at})]").into_bytes()).collect();
        for text in &texts[..MODELS] {
            models.put(model(text));
        }
        assert!(models.get(b"[('n', 0)").is_none());
        for text in &texts[..MODELS] {
            let found = models.get(text).expect("it was put there").model;
            assert_eq!(*found.text, **text);
            assert_eq!(found.form, model(text).model.form);
        }
        models.get(&texts[0]);
        models.put(model(&texts[MODELS]));
        assert!(models.get(&texts[1]).is_none(), "the one that was not asked for longest");
        assert!(models.get(&texts[0]).is_some() && models.get(&texts[MODELS]).is_some());
    }

    #[test]
    fn a_model_is_there_once_and_a_long_one_not_at_all() {
        let mut models = Models::default();
        for _ in 0..2 {
            models.put(model(b"one"));
        }
        let digests = Arc::new(Digests { label: [1; 16], settings: None });
        let found = models.get(b"one").expect("it is there");
        models.put(Remembered { digests: Some(digests), ..found });
        assert_eq!(models.0.len(), 1);
        assert!(models.get(b"one").expect("it is there").digests.is_some());
        let long = vec![b'x'; LONGEST + 1];
        models.put(model(&long));
        assert!(models.get(&long).is_none());
    }
}
