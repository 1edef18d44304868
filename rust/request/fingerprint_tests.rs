//! Fingerprints, sketches and digests of long prompts.

use super::*;

const A: Request<'_> = Request { namespace: b"", llm_string: b"model", prompt: b"hello" };

/// A fingerprint secret that depends on `seed`. (Of equal bytes XXH3 would make nothing: it
/// xors pairs of them.)
fn process_secret(seed: u8) -> Vec<u8> {
    (0..192_u8).map(|byte| byte.wrapping_mul(seed) ^ seed).collect()
}

fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new(&process_secret(7)).expect("long enough")
}

#[test]
fn a_fingerprint_depends_on_every_part() {
    for other in [
        Request { namespace: b"t", ..A },
        Request { llm_string: b"model2", ..A },
        Request { prompt: b"hello ", ..A },
    ] {
        assert_ne!(
            fingerprinter().probe(&other).fingerprint,
            fingerprinter().probe(&A).fingerprint
        );
    }
}

#[test]
fn fingerprints_depend_on_the_process_secret() {
    let other = Fingerprinter::new(&process_secret(9)).expect("long enough");
    assert_ne!(other.probe(&A).fingerprint, fingerprinter().probe(&A).fingerprint);
    assert!(Fingerprinter::new(&[8; 135]).is_err());
}

#[test]
fn namespace_and_llm_string_do_not_commute() {
    let swapped = Request { namespace: A.llm_string, llm_string: A.namespace, ..A };
    assert_ne!(fingerprinter().probe(&swapped).fingerprint, fingerprinter().probe(&A).fingerprint);
}

#[test]
fn only_long_prompts_are_digested() {
    let long = vec![b'x'; VERBATIM_MAX + 1];
    let at_border = Request { prompt: &long[..VERBATIM_MAX], ..A };
    assert!(fingerprinter().probe(&at_border).digest.is_none());
    assert!(fingerprinter().probe(&Request { prompt: &long, ..A }).digest.is_some());
}

#[test]
fn a_sketch_sees_both_ends_and_the_length_of_prompts_in_between() {
    let text: Vec<u8> = (0..20_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let sketch = |prompt: &[u8]| {
        fingerprinter().sketch(&Request { prompt, ..A }).map(|probe| probe.fingerprint)
    };
    let changed = |at: usize| {
        let mut text = text.clone();
        text[at] ^= 1;
        text
    };
    assert!(sketch(&text).is_some());
    assert_eq!(sketch(&text), sketch(&changed(10_000)));
    for other in [changed(0), changed(1023), changed(18_976), changed(19_999)] {
        assert_ne!(sketch(&text), sketch(&other));
    }
    // The text has a period of 256: the same ends, another length.
    assert_ne!(sketch(&text), sketch(&text[..20_000 - 256]));
    assert_eq!(sketch(&text[..SKETCH_MIN]), None);
    assert_eq!(sketch(&vec![0; VERBATIM_MAX + 1]), None);
}
