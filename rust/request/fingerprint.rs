//! Finds a request within this process: fingerprints, which are fast and prove nothing.
//!
//! A [`Fingerprint`] is an XXH3-128 with a secret of this process. It runs at memory speed, but it is
//! not collision-resistant (pairs of printable prompts that collide under the default secret take
//! microseconds to build), so it only ever *finds* a candidate: see the memory tier.
#![forbid(unsafe_code)]

use super::frame::Request;
use twox_hash::{XxHash3_64, XxHash3_128};

/// Prompts longer than this are verified by a BLAKE3 digest, not by their bytes.
///
/// Keeping a prompt costs memory once and a `memcmp` per hit, which is about as fast as XXH3;
/// digesting one takes seven times as long. Beyond 1 MiB memory is worth more.
pub const VERBATIM_MAX: usize = 1024 * 1024;

/// Where to look for a request in this process. Equal requests have equal fingerprints; the
/// converse is for the caller to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    prompt: u128,
    scope: u64,
}

impl Fingerprint {
    /// Folded to 64 bits, for a hash table's index.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
    pub fn hash64(&self) -> u64 {
        self.prompt as u64 ^ self.scope
    }

    /// The part that namespace and `llm_string` alone decide.
    #[must_use]
    pub fn scope_hash64(&self) -> u64 {
        self.scope
    }
}

/// Prompts longer than this have a sketch: see [`Fingerprinter::sketch`]. Below, hashing all of one takes
/// less than 0.1 µs.
pub const SKETCH_MIN: usize = 4 * 1024;

/// How much of either end of a prompt its sketch covers, in bytes.
const SKETCH_END: usize = 1024;

/// What it takes to find and verify a request, computed before any lock is taken.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Finds the candidate.
    pub fingerprint: Fingerprint,
    /// Finds it faster, most of the time: see [`Fingerprinter::sketch`].
    pub sketch: Option<Fingerprint>,
    /// Verifies it, where the prompt is longer than [`VERBATIM_MAX`].
    pub digest: Option<[u8; 32]>,
}

/// The shortest secret that XXH3 takes (`XXH3_SECRET_SIZE_MIN` in xxhash.h), in bytes.
pub const FINGERPRINT_SECRET_MIN: usize = 136;

/// Computes fingerprints, under a secret of this process.
pub struct Fingerprinter {
    secret: Box<[u8]>,
}

impl Fingerprinter {
    /// `secret`: random, of this process.
    ///
    /// # Errors
    /// When `secret` is shorter than [`FINGERPRINT_SECRET_MIN`].
    pub fn new(secret: &[u8]) -> Result<Self, &'static str> {
        if secret.len() < FINGERPRINT_SECRET_MIN {
            return Err("the fingerprint secret must have at least 136 bytes");
        }
        Ok(Self { secret: secret.into() })
    }

    /// Fingerprint (and digest, for a long prompt). Long work: release the GIL around it.
    #[must_use]
    pub fn probe(&self, request: &Request<'_>) -> Probe {
        let prompt = XxHash3_128::oneshot_with_secret(&self.secret, request.prompt);
        let fingerprint =
            Fingerprint { prompt: prompt.unwrap_or_default(), scope: self.scope(request) };
        let digest =
            (request.prompt.len() > VERBATIM_MAX).then(|| *blake3::hash(request.prompt).as_bytes());
        let sketch = self.sketch(request).map(|sketch| sketch.fingerprint);
        Probe { fingerprint, sketch, digest }
    }

    /// A probe by the length and both ends of a prompt, where these are much less than all of it:
    /// enough to find, most of the time, what was asked before, at a fraction of the reading.
    ///
    /// Conversations differ at their end and documents at their beginning. Requests that differ
    /// only in between share a sketch, so that a miss by it says nothing yet: [`Self::probe`] does.
    #[must_use]
    pub fn sketch(&self, request: &Request<'_>) -> Option<Probe> {
        let len = request.prompt.len();
        if len <= SKETCH_MIN || len > VERBATIM_MAX {
            return None;
        }
        let first = u128::from(self.hash64(&request.prompt[..SKETCH_END]));
        let last = u128::from(self.hash64(&request.prompt[len - SKETCH_END..]));
        let prompt = (first << 64 | last) ^ (len as u128) << 40;
        let fingerprint = Fingerprint { prompt, scope: self.scope(request) };
        Some(Probe { fingerprint, sketch: None, digest: None })
    }

    fn scope(&self, request: &Request<'_>) -> u64 {
        // Rotated, so that swapping namespace and llm_string does not cancel out.
        self.hash64(request.namespace).rotate_left(21) ^ self.hash64(request.llm_string)
    }

    fn hash64(&self, bytes: &[u8]) -> u64 {
        // The secret's length was checked at construction, the only way this can fail.
        XxHash3_64::oneshot_with_secret(&self.secret, bytes).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
