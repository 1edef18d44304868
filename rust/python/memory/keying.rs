//! Names requests: keys, partitions, labels and outlines, with the GIL released while that is long work.

use super::conversions::{Partitioned, partitioned};
use super::request_args::{RequestArg, Schemas, Text};
use crate::canonical::{Bypass, Form, Ignored};
use crate::python::errors::bypassed;
use crate::python::runtime::long_work::detached;
use crate::request::{
    Context, Key, Keyer, Model, ModelDigests, Outliner, ParsedRequest, RecentModel, RecentModels,
    Request,
};
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What names the requests of a cache.
pub(super) struct Keying {
    pub(super) keyer: Keyer,
    outliner: Outliner,
    /// Taken only with the GIL held, and never while Python code runs: so it is never contended,
    /// and a fork cannot copy it locked.
    models: Mutex<RecentModels>,
    /// What comes after this in an `llm_string` is not part of it.
    mark: Vec<u8>,
}

/// Does work that takes as long as a request is, with the GIL released if it is long.
pub(super) fn long_work<T: Send>(
    py: Python<'_>,
    request: &Request<'_>,
    work: impl Send + FnOnce() -> T,
) -> T {
    detached(py, request.prompt.len() + request.llm_string.len(), work)
}

impl Keying {
    /// Under the user's secret, if there is one.
    /// `ignored`: the settings that do not count.
    pub(super) fn new(secret: Option<&[u8]>, mark: &str, ignored: Ignored) -> Self {
        let keyer = Keyer::new(secret).ignoring(ignored);
        let outliner = Outliner::new(keyer.outline_key());
        Self { keyer, outliner, models: Mutex::default(), mark: mark.as_bytes().to_vec() }
    }

    /// The key of a request.
    pub(super) fn key(
        &self,
        request: &RequestArg<'_>,
        namespace: Text<'_, '_>,
        schemas: Schemas,
    ) -> PyResult<Key> {
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let (texts, context) = (request.texts(namespace)?, request.context());
        self.read(namespace.py(), texts.request(), context, |recent, parsed| {
            recent.key_prefix.key(&parsed, schema_of)
        })
    }

    /// The partition of a request, and its question.
    pub(super) fn partition(
        &self,
        request: &RequestArg<'_>,
        namespace: Text<'_, '_>,
        schemas: Schemas,
    ) -> Partitioned {
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let (texts, context) = (request.texts(namespace)?, request.context());
        let py = namespace.py();
        let found = self.read(py, texts.request(), context, |recent, parsed| {
            recent.key_prefix.partition(parsed, schema_of)
        })?;
        found.map(|it| partitioned(py, &it)).transpose()
    }

    /// Key, label of the `llm_string`, outline: what a record is named by, read only once.
    pub(super) fn describe(
        &self,
        request: &RequestArg<'_>,
        namespace: Text<'_, '_>,
        schemas: Schemas,
        tail: usize,
    ) -> PyResult<(Key, [u8; 16], Vec<u8>)> {
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let (texts, context) = (request.texts(namespace)?, request.context());
        let (py, request) = (namespace.py(), texts.request());
        self.read(py, request, context, |recent, parsed| {
            let key = recent.key_prefix.key(&parsed, schema_of)?;
            let digests = &mut recent.digests;
            let digests = digests.get_or_insert_with(|| self.digests(parsed.model).into());
            let settings = digests.settings.as_deref();
            let outline = self.outliner.outline(&parsed, settings, schema_of, tail);
            Ok((key, digests.label, outline))
        })
    }

    /// The outline of a request.
    pub(super) fn outline(
        &self,
        request: &RequestArg<'_>,
        namespace: Text<'_, '_>,
        schemas: Schemas,
        tail: usize,
    ) -> PyResult<Vec<u8>> {
        let schemas = schemas.unwrap_or_default();
        let schema_of = |class: &str| schemas.get(class).copied();
        let (texts, context) = (request.texts(namespace)?, request.context());
        let (py, request) = (namespace.py(), texts.request());
        let outline = long_work(py, &request, || {
            let model = self.keyer.read_model(request.llm_string)?;
            let parsed = ParsedRequest::read(request, context, &model)?;
            Ok(self.outliner.outline(&parsed, None, schema_of, tail))
        });
        outline.map_err(bypassed)
    }

    /// Whether a namespace and an `llm_string` have the labels that are given.
    pub(super) fn is_labelled(
        &self,
        name: &[u8],
        llm_string: &[u8],
        namespace: Option<[u8; 16]>,
        llm: Option<[u8; 16]>,
    ) -> bool {
        let is_marked =
            |at: &usize| !self.mark.is_empty() && llm_string[*at..].starts_with(&self.mark);
        let end = (0..llm_string.len()).find(is_marked).unwrap_or(llm_string.len());
        namespace.is_none_or(|label| label == self.keyer.label(name))
            && llm.is_none_or(|label| label == self.keyer.llm_label(&llm_string[..end]))
    }

    fn models(&self) -> MutexGuard<'_, RecentModels> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a request, and returns what `name` makes of it.
    fn read<T: Send>(
        &self,
        py: Python<'_>,
        request: Request<'_>,
        context: Context<'_>,
        name: impl Send + FnOnce(&mut RecentModel, ParsedRequest<'_>) -> Result<T, Bypass>,
    ) -> PyResult<T> {
        let known = self.models().get(request.llm_string);
        let named = long_work(py, &request, || {
            let mut recent = self.recognised(known, &request)?;
            let model = Arc::clone(&recent.model);
            let parsed = ParsedRequest::read(request, context, &model)?;
            let named = name(&mut recent, parsed)?;
            Ok((recent, named))
        });
        let (recent, named) = named.map_err(bypassed)?;
        self.models().put(recent);
        Ok(named)
    }

    /// The model of a request: `known`, or read. Long work.
    fn recognised(
        &self,
        known: Option<RecentModel>,
        request: &Request<'_>,
    ) -> Result<RecentModel, Bypass> {
        let namespace = request.namespace;
        Ok(match known {
            Some(it) if *it.key_prefix.namespace == *namespace => it,
            Some(it) => {
                let key_prefix = self.keyer.key_prefix(namespace, &it.model).into();
                RecentModel { key_prefix, ..it }
            }
            None => {
                let model = self.keyer.read_model(request.llm_string)?;
                let key_prefix = self.keyer.key_prefix(namespace, &model).into();
                RecentModel { model: model.into(), key_prefix, digests: None }
            }
        })
    }

    fn digests(&self, model: &Model) -> ModelDigests {
        let has_classes = matches!(&model.form, Form::Params(it) if !it.classes.is_empty());
        let settings = (!has_classes).then(|| self.outliner.settings(model, |_| None));
        ModelDigests { label: self.keyer.llm_label(&model.text), settings }
    }
}
