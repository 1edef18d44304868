//! The Python class `Memory`: the memory tier, with a lock and a clock, and the names of requests.

pub(super) mod binding;
mod conversions;
pub(super) mod counts;
mod keying;
pub(super) mod outline;
pub(super) mod overview;
mod prices;
mod recall;
mod request_args;
mod shared_tier;
mod stored;
