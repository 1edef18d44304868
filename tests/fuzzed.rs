//! What the fuzzers have found, read again: `fuzz/run.py` keeps it in `tests/data/fuzz`.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/mod.rs"]
mod checks;

fn all(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(name);
    let mut count = 0;
    for file in fs::read_dir(folder).expect("the inputs are there") {
        check(&fs::read(file.expect("can be listed").path()).expect("can be read"));
        count += 1;
    }
    assert!(count > 100, "too few inputs to mean much: {count}");
}

#[test]
fn texts_have_one_form_that_can_be_read_back_or_none() {
    all("canonical", checks::canonical::check);
}

#[test]
fn payloads_are_tokens_or_malformed() {
    all("decoder", checks::value::check);
}
