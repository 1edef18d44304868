//! The decoder, on whatever payload: header and checksum are right.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use llmemo_fuzz::dice::Dice;
use llmemo_fuzz::{border, checks, coverage, payloads};

fuzz_target!(
    init: {
        border::start();
        coverage::print_at_exit(&["codec/format", "codec/reader", "codec/token", "python/codec/decode/", "python/codec/instances", "python/codec/string_cache"]);
    },
    |payload: &[u8]| {
        checks::value::check(payload);
        border::check(&checks::value::sealed(payload));
        coverage::observe();
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice::new(seed);
    let changed = payloads::changed(&data[..size], &mut dice);
    if dice.roll(2) == 0 || changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
