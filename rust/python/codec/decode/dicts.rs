//! Decodes dicts of few entries: as copies of templates, where there is one.

use super::decoder::{Decoder, Failure};
use crate::codec::{DEPTH_MAX, is_leaf};
use crate::python::codec::dict_templates::{BYTES_MAX, ENTRIES_MAX, Entry, Taken, Template, sign};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

impl<'py> Decoder<'_, 'py> {
    /// A dict of so many entries, of at most [`crate::python::codec::hashes::SAME_HASH_MAX`].
    pub(super) fn dict(&mut self, len: usize, depth: usize) -> Result<Bound<'py, PyDict>, Failure> {
        // At the greatest depth no value is allowed, so that none may be skipped.
        if len == 0 || len > ENTRIES_MAX || depth == DEPTH_MAX {
            return self.entries(PyDict::new(self.py), len, depth);
        }
        let (py, templates) = (self.py, &self.schema.templates);
        let sign = sign(self.payload, self.reader.rest(), len);
        match templates.take(py, sign) {
            Taken::Template(template) => {
                // A sign is only a sign.
                let (dict, fits) = if template.entries.len() == len {
                    self.templated(&template, depth)
                } else {
                    (self.entries(PyDict::new(py), len, depth), false)
                };
                templates.give_back(py, sign, template, fits);
                dict
            }
            Taken::Second if sign != 0 => self.learned(len, depth, sign),
            _ => self.entries(PyDict::new(py), len, depth),
        }
    }

    /// Adds so many entries to a dict.
    fn entries(
        &mut self,
        dict: Bound<'py, PyDict>,
        len: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        for _ in 0..len {
            if let Some(word) = self.reader.next_word() {
                let key = self.lent(word)?;
                self.set(&dict, key, None, depth)?;
            } else {
                dict.set_item(self.any(depth + 1)?, self.any(depth + 1)?)?;
            }
        }
        Ok(dict)
    }

    /// A dict that probably fits this template, and whether it is.
    fn templated(
        &mut self,
        template: &Template,
        depth: usize,
    ) -> (Result<Bound<'py, PyDict>, Failure>, bool) {
        let dict = match template.dict.bind(self.py).copy() {
            Ok(dict) => dict,
            Err(error) => return (Err(error.into()), true),
        };
        if template.is_whole && self.reader.skip(&template.bytes) {
            return (Ok(dict), true);
        }
        for (at, entry) in template.entries.iter().enumerate() {
            if let Some(end) = entry.end
                && self.reader.skip(&template.bytes[entry.start..end])
            {
                continue;
            }
            if !self.reader.skip(&template.bytes[entry.start..entry.key_end]) {
                let dict = self.other_shape(template, &dict, at, depth);
                return (dict, false);
            }
            if let Err(failure) = self.set(&dict, &entry.key, None, depth) {
                return (Err(failure), true);
            }
        }
        (Ok(dict), true)
    }

    /// What was read as far as to this entry, and then has another key.
    #[cold]
    fn other_shape(
        &mut self,
        template: &Template,
        read: &Bound<'py, PyDict>,
        at: usize,
        depth: usize,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        let dict = PyDict::new(self.py);
        for entry in &template.entries[..at] {
            dict.set_item(&entry.key, read.as_any().get_item(&entry.key)?)?;
        }
        self.entries(dict, template.entries.len() - at, depth)
    }

    /// A dict that is kept as a template.
    #[cold]
    fn learned(
        &mut self,
        len: usize,
        depth: usize,
        sign: u64,
    ) -> Result<Bound<'py, PyDict>, Failure> {
        let (py, dict, kept) = (self.py, PyDict::new(self.py), PyDict::new(self.py));
        let (mut entries, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..len {
            let before = self.reader.rest();
            let key = self.any(depth + 1)?;
            let key_len = before.len() - self.reader.rest().len();
            let value = self.any(depth + 1)?;
            let value_len = before.len() - self.reader.rest().len() - key_len;
            dict.set_item(&key, &value)?;
            let (key_bytes, rest) = before.split_at(key_len);
            let value_bytes = &rest[..value_len];
            let Ok(key) = key.cast_into_exact::<PyString>() else { continue };
            if key_len > BYTES_MAX || !is_leaf(key_bytes) {
                continue;
            }
            let is_kept = value_len <= BYTES_MAX && is_leaf(value_bytes);
            let start = bytes.len();
            bytes.extend_from_slice(key_bytes);
            let key_end = bytes.len();
            if is_kept {
                bytes.extend_from_slice(value_bytes);
                kept.set_item(&key, value)?;
            } else {
                kept.set_item(&key, py.None())?;
            }
            let end = is_kept.then_some(bytes.len());
            entries.push(Entry { key: key.unbind(), start, key_end, end });
        }
        // A dict that says a key twice, or has one that is no short text, has no template.
        if kept.len() == len && entries.len() == len {
            let template = Template {
                dict: kept.unbind(),
                is_whole: entries.iter().all(|entry| entry.end.is_some()),
                entries: entries.into(),
                bytes: bytes.into(),
            };
            self.schema.templates.give(py, sign, Box::new(template));
        }
        Ok(dict)
    }
}
