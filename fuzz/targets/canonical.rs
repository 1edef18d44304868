//! The canonicaliser, on whatever bytes.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use llmemo_fuzz::dice::Dice;
use llmemo_fuzz::{checks, coverage, texts};

fuzz_target!(init: coverage::print_at_exit(&["canonical"]), |text: &[u8]| {
    checks::canonical::check(text);
    coverage::observe();
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice::new(seed);
    let changed = texts::changed(&data[..size], &mut dice);
    if dice.roll(2) == 0 || changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
