//! Decides which caller refreshes an answer before it expires (`XFetch`).
#![forbid(unsafe_code)]

use super::answer::Answer;

/// A pseudo-random sequence that picks the callers: see [`Self::is_due`].
pub struct EarlyRefresh(u64);

impl EarlyRefresh {
    /// A sequence that depends on `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Whether this caller shall refresh the answer, although it has not expired: `XFetch`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds, by chance; the casts saturate"
    )]
    pub fn is_due(&mut self, answer: &Answer, now: u64) -> bool {
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
