//! The JSON head: its values, its envelope, and the objects that it could not hold.

use super::Reason;
use super::golden_tests::golden;
use super::tests::{all_differ, bypass, bytes, head, is_opaque};

#[test]
fn numbers_strings_and_keys_of_the_head() {
    let values = "null ~ true ~ false ~ 1 ~ 1.0 ~ 1e0 ~ 1E0 ~ 1e+0 ~ -1 ~ 0 ~ -0 ~ NaN ~ Infinity ~ -Infinity";
    let strings = r#" ~ "1" ~ "" ~ "null" ~ "\ud83d" ~ "\ude00\ud83d" ~ "\ud83d\ude00" ~ "---[('stop', None)]""#;
    let arrays = " ~ [] ~ {} ~ [1] ~ [[1]] ~ [1, 2] ~ [2, 1] ~ 1180591620717411303424";
    let objects = r#" ~ {"a": 1, "b": 2} ~ {"b": 2, "a": 1} ~ {"a": 1, "a": 2} ~ {"a": 2} ~ {"a": 2, "a": 1} ~ {"a": 2, "a": 2}"#;
    let all = [values, strings, arrays, objects].concat();
    all_differ(&all.split(" ~ ").map(head).collect::<Vec<_>>());
    for (left, right) in [
        (
            r#""\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\""#,
            "\"é😀/\\u0008\\u000c\\u000A\\u000d\\u0009\\u0022\\u005c\"",
        ),
        (r#"{"\u0061":[1,2]}"#, "{ \"a\" :\n[1\t, 2 ] }"),
    ] {
        assert_eq!(bytes(head(left)), bytes(head(right)), "{left} and {right}");
    }
    // A half without its other half is kept, and is what the border hands over in three bytes.
    let text = head(r#""\ud800x""#);
    let (before, after) = text.split_once(r"\ud800").expect("is there");
    assert_eq!(
        bytes(&text),
        bytes([before.as_bytes(), b"\xED\xA0\x80", after.as_bytes()].concat())
    );
    for json in
        ["01", "1.", ".5", "+1", "1e", "nan", "'a'", "[1,]", "{1: 2}", "\"\n\"", r#""\q""#, ""]
    {
        assert!(is_opaque(head(json)), "{json}");
    }
}

#[test]
fn the_head_is_an_envelope_and_the_rest_follows_at_once() {
    let text = head("1");
    let permuted = r#"{"type": "constructor", "lc": 1, "kwargs": {"p": 1}, "id": ["a", "B"]}---[]"#;
    assert_eq!(bytes(&text), bytes(permuted));
    let more = text.replace(r#""lc": 1"#, r#""lc": 1, "version": 2"#);
    assert_ne!(bytes(&text), bytes(more));
    for (part, other) in [
        ("---[]", "--[]"),
        ("---[]", "--- []"),
        ("---[]", " ---[]"),
        ("---[]", "---[] "),
        ("---[]", "---"),
        ("---[]", ""),
        (r#""lc": 1, "#, ""),
        (r#""id": ["a", "B"]"#, r#""id": "B""#),
        (r#""id": ["a", "B"], "#, ""),
        (r#""lc": 1"#, r#""lc": 1, "lc": 1"#),
        (r#""lc": 1"#, r#""lc": 1, "kwargs": {}"#),
        (r#""kwargs": {"p": 1}, "#, ""),
        (r#"{"p": 1}"#, "[1]"),
    ] {
        assert!(is_opaque(text.replace(part, other)), "{part} as {other}");
    }
    // A value of the head is not one of the call, nor a name of one place that of another.
    assert_ne!(bytes(&text), bytes(head("1").replace(r#""p": 1"#, "").replace("[]", "[('p', 1)]")));
}

#[test]
fn objects_in_the_head_bypass_unless_masked_on_purpose() {
    let object =
        |repr: &str| format!(r#"[{{"id": ["m", "T"], "lc": 1, {repr}"type": "not_implemented"}}]"#);
    let parameter = Some("p".to_owned());
    assert_eq!(bypass(head(&object(""))), (Reason::UnknownRepr, parameter.clone()));
    assert_eq!(
        bypass(head(&object(r#""repr": "T(1)", "#))),
        (Reason::UnknownRepr, parameter.clone())
    );
    assert_eq!(bypass(head(&object(r#""repr": "<T at 0x7f>", "#))), (Reason::Address, parameter));
    bytes(golden::SECRETS);
    // A dict that merely says so is a dict.
    bytes(head(r#"{"type": "not_implemented", "repr": "<T at 0x7f>"}"#));
    let whole = head("1").replace("constructor", "not_implemented");
    assert_eq!(bypass(whole), (Reason::UnknownRepr, Some("type".to_owned())));
}
