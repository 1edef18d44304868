//! What a request is called: a key that every process agrees on, a fingerprint for this one, and an
//! outline of its parts.

pub mod frame;
pub mod key;
pub mod outline;
pub mod parsed;
