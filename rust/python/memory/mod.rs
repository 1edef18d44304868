//! The Python class `Memory`: the memory tier, with a lock and a clock, and the names of requests.

pub(super) mod binding;
mod clock;
mod conversions;
pub(super) mod counts;
mod keying;
pub(super) mod outline;
mod prices;
mod recall;
mod request_args;
mod shared_tier;
mod stored;
