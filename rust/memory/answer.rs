//! An answer in memory: its bytes, its times, and what it spares whoever is given it.

use std::sync::Arc;

/// Never expires.
pub const FOREVER: u64 = u64::MAX;

/// `early` times this is further ahead of its end than an answer is ever made anew: -ln(2^-53),
/// the most that the logarithm of a draw can be, rounded up.
const REACH: u64 = 37;

/// What a call to the model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worth {
    /// Tokens that it was sent.
    pub input_tokens: u64,
    /// Tokens that it made.
    pub output_tokens: u64,
    /// In whatever currency.
    pub money: f64,
}

impl Worth {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.money += other.money;
    }

    /// Takes back what was added.
    pub fn subtract(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_sub(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_sub(other.output_tokens);
        self.money -= other.money;
    }
}

/// Times are in nanoseconds of the epoch that the caller's `now` keeps to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its bytes.
    pub value: Arc<[u8]>,
    /// When it was made: for the caller, in a unit of its own.
    pub created: f64,
    /// When it is over; or [`FOREVER`].
    pub expires: u64,
    /// How long it takes to make another, times a factor (delta and beta of Vattani, Chierichetti
    /// and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015); or 0.
    pub early: u64,
    /// What each hit saves.
    pub worth: Worth,
}

impl Answer {
    /// One that stays, and is worth nothing.
    #[must_use]
    pub fn lasting(value: &[u8]) -> Self {
        let worth = Worth::default();
        Self { value: value.into(), created: 0.0, expires: FOREVER, early: 0, worth }
    }

    /// From when on somebody may be asked to make it anew: no later than it is over.
    #[must_use]
    pub fn due(&self) -> u64 {
        if self.expires == FOREVER {
            return FOREVER;
        }
        self.expires.saturating_sub(self.early.saturating_mul(REACH))
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
