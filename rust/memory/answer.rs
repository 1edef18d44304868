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

/// What decides who makes an answer anew. A sequence of its own, which nobody should rely on.
pub struct Dice(u64);

impl Dice {
    /// Those of different seeds fall differently.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Whether this caller is to make the answer anew, although it is not over: `XFetch`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds, by chance; the casts saturate"
    )]
    pub fn are_for(&mut self, answer: &Answer, now: u64) -> bool {
        // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014);
        // with the time in it, since processes that were forked begin with the same state.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut draw = self.0 ^ now;
        draw = (draw ^ draw >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        draw = (draw ^ draw >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        draw ^= draw >> 31;
        // In (0, 1], in steps of 2^-53.
        let chance = ((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let ahead = answer.early as f64 * -chance.ln();
        now.saturating_add(ahead as u64) >= answer.expires
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
