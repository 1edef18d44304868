//! What answers have cost: the tokens that they say, and the user's prices of these.

use crate::memory::Worth;
use crate::python::codec::schema::{CHAT_GENERATION, Schema};
use crate::python::runtime::interned::intern;
use crate::python::runtime::text::bytes_of;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Tokens that a price is for.
const PER: f64 = 1_000_000.0;

/// More tokens than this are not believed.
const TOKENS_MAX: u64 = 1 << 31;

/// Prices by model. A name stands for all that begin with it: `gpt-5` for `gpt-5-2025-08-07`.
pub struct Prices(Vec<(String, Price)>);

/// Of [`PER`] tokens that a model is sent, and of those that it makes.
type Price = (f64, f64);

impl Prices {
    /// By the names of models.
    pub fn new(prices: HashMap<String, Price>) -> Self {
        let mut prices: Vec<_> = prices.into_iter().collect();
        // The longest name that fits is the model's.
        prices.sort_by_key(|(name, _)| Reverse(name.len()));
        Self(prices)
    }

    /// What an answer has cost: nothing where it does not say.
    pub fn worth(&self, generations: &Bound<'_, PyAny>) -> PyResult<Worth> {
        let py = generations.py();
        let schema = Schema::get(py)?;
        let mut worth = Worth::default();
        for generation in generations.try_iter()? {
            let generation = generation?;
            if !schema.is_instance(&generation, CHAT_GENERATION) {
                continue;
            }
            let message = generation.getattr(intern!(py, "message"))?;
            let usage = message.getattr_opt(intern!(py, "usage_metadata"))?;
            let Some(usage) = usage.and_then(|usage| usage.cast_into::<PyDict>().ok()) else {
                continue;
            };
            let input_tokens = count(&usage, intern!(py, "input_tokens"))?;
            let output_tokens = count(&usage, intern!(py, "output_tokens"))?;
            let money = self.money(&message, input_tokens, output_tokens)?;
            worth.add(&Worth { input_tokens, output_tokens, money });
        }
        Ok(worth)
    }

    #[expect(clippy::cast_precision_loss, reason = "tokens, of which there are few")]
    fn money(&self, message: &Bound<'_, PyAny>, sent: u64, made: u64) -> PyResult<f64> {
        if self.0.is_empty() {
            return Ok(0.0);
        }
        let py = message.py();
        let metadata = message.getattr(intern!(py, "response_metadata"))?;
        let Ok(metadata) = metadata.cast::<PyDict>() else { return Ok(0.0) };
        // What providers call the model.
        for key in [intern!(py, "model_name"), intern!(py, "model"), intern!(py, "model_id")] {
            let Some(name) = metadata.get_item(key)? else { continue };
            let Ok(name) = name.cast::<PyString>() else { continue };
            let name = bytes_of(name)?;
            if let Some((_, price)) =
                self.0.iter().find(|(known, _)| name.starts_with(known.as_bytes()))
            {
                return Ok((sent as f64 * price.0 + made as f64 * price.1) / PER);
            }
        }
        Ok(0.0)
    }
}

fn count(usage: &Bound<'_, PyDict>, name: &Bound<'_, PyString>) -> PyResult<u64> {
    let Some(count) = usage.get_item(name)? else { return Ok(0) };
    if count.cast_exact::<PyInt>().is_err() {
        return Ok(0);
    }
    // One that is negative, or too large for the type, is none either.
    Ok(count.extract().ok().filter(|count| *count < TOKENS_MAX).unwrap_or(0))
}
