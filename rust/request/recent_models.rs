//! Remembers the models that were asked last, so that their `llm_string` is not read again.
//!
//! Thousands of requests share an `llm_string`, and reading one takes as long as all the rest of a
//! key. They are found by equality.
#![forbid(unsafe_code)]

use super::key::KeyPrefix;
use super::parsed::Model;
use std::sync::Arc;

/// How many `llm_string`s are remembered.
const MODELS: usize = 8;

/// The longest that is (bytes), so that all of them are no burden on memory.
const LONGEST: usize = 64 * 1024;

/// Digests of a model that go with each record: they depend on it alone, and on the secret.
#[derive(Debug)]
pub struct ModelDigests {
    /// The label of the whole.
    pub label: [u8; 16],
    /// What an outline begins with; `None` where that takes the schemas of classes.
    pub settings: Option<Vec<u8>>,
}

/// A model, and what was made of it: all of it depends on the secret.
#[derive(Clone, Debug)]
pub struct RecentModel {
    /// The model.
    pub model: Arc<Model>,
    /// The keys of requests to it, of the namespace that asked last.
    pub key_prefix: Arc<KeyPrefix>,
    /// Its digests, once they were asked for.
    pub digests: Option<Arc<ModelDigests>>,
}

/// The models that were asked last, the last one first.
#[derive(Default)]
pub struct RecentModels(Vec<RecentModel>);

impl RecentModels {
    /// The model of exactly this `llm_string`, if it is remembered.
    pub fn get(&mut self, text: &[u8]) -> Option<RecentModel> {
        let at = self.0.iter().position(|it| *it.model.text == *text)?;
        self.0[..=at].rotate_right(1);
        self.0.first().cloned()
    }

    /// Remembers a model, in the place of the one that was not asked for longest.
    pub fn put(&mut self, new: RecentModel) {
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
    use crate::request::Keyer;

    fn model(text: &[u8]) -> RecentModel {
        let keyer = Keyer::new(None);
        let model = keyer.read_model(text).expect("no bypass");
        let key_prefix = Arc::new(keyer.key_prefix(b"", &model));
        RecentModel { model: Arc::new(model), key_prefix, digests: None }
    }

    #[test]
    fn a_model_is_found_by_all_of_its_text_and_the_last_few_stay() {
        let mut models = RecentModels::default();
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
        let mut models = RecentModels::default();
        for _ in 0..2 {
            models.put(model(b"one"));
        }
        let digests = Arc::new(ModelDigests { label: [1; 16], settings: None });
        let found = models.get(b"one").expect("it is there");
        models.put(RecentModel { digests: Some(digests), ..found });
        assert_eq!(models.0.len(), 1);
        assert!(models.get(b"one").expect("it is there").digests.is_some());
        let long = vec![b'x'; LONGEST + 1];
        models.put(model(&long));
        assert!(models.get(&long).is_none());
    }
}
