//! The memory tier, as Python has it.

pub(super) mod binding;
pub(super) mod clock;
pub(super) mod prices;
pub(super) mod request_args;
