//! The rules of the repr part, each with an example; and what is of no form at all.

use super::golden_tests::golden;
use super::{Bypass, Canonical, Form, Reason, llm_string};

pub(super) fn params(text: impl AsRef<[u8]>) -> Canonical {
    let text = text.as_ref();
    match llm_string(text) {
        Ok(Form::Params(whole)) => whole,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
    }
}

pub(super) fn bytes(text: impl AsRef<[u8]>) -> Vec<u8> {
    params(text).bytes
}

/// A bare string with one parameter, given its repr.
pub(super) fn one(repr: &str) -> String {
    format!("[('p', {repr}), ('stop', None)]")
}

/// A string with a JSON head of one argument, given its JSON.
pub(super) fn head(json: &str) -> String {
    format!(
        r#"{{"id": ["a", "B"], "kwargs": {{"p": {json}}}, "lc": 1, "type": "constructor"}}---[]"#
    )
}

pub(super) fn bypass(text: impl AsRef<[u8]>) -> (Reason, Option<String>) {
    match llm_string(text.as_ref()) {
        Err(Bypass { reason, parameter }) => (reason, parameter),
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text.as_ref())),
    }
}

pub(super) fn is_opaque(text: impl AsRef<[u8]>) -> bool {
    llm_string(text.as_ref()) == Ok(Form::Opaque)
}

pub(super) fn all_differ(texts: &[String]) {
    for (at, text) in texts.iter().enumerate() {
        for other in &texts[..at] {
            assert_ne!(bytes(text), bytes(other), "{text} and {other}");
        }
    }
}

#[test]
fn the_bytes_are_the_documented_ones() {
    assert_eq!(
        bytes("[('a', [1, 'x', (None,)]), ('stop', {True: <class 'm.C'>})]"),
        b"\x03\x07\x01a\x0C\x04\x011\x07\x01x\x0D\x01\x00\x00\
          \x03\x07\x04stop\x0E\x03\x0B\x03m.C\x00"
    );
    assert_eq!(
        bytes(head("2.50")),
        b"\x01\x07\x02id\x0C\x07\x01a\x07\x01B\x00\x01\x07\x02lc\x06\x011\
          \x01\x07\x04type\x07\x0Bconstructor\x02\x07\x01p\x06\x042.50"
    );
    let long = bytes(one(&format!("'{}'", "x".repeat(300))));
    assert_eq!(long[4..8], [7, 0xAC, 0x02, b'x']);
}

#[test]
fn literals_of_every_kind_are_told_apart() {
    let leaves = "None ~ True ~ False ~ 1 ~ 1.0 ~ -1 ~ 0 ~ -0.0 ~ 0.0 ~ 1e-05 ~ 1e+16 ~ 1.5e+300 ~ nan ~ inf ~ -inf";
    let texts = " ~ '1' ~ b'1' ~ '' ~ b'' ~ 'None' ~ 'a' ~ 'A' ~ 'm.A' ~ 1180591620717411303424";
    let empty = " ~ [] ~ () ~ {} ~ set() ~ frozenset()";
    let single = " ~ [1] ~ (1,) ~ {1} ~ frozenset({1}) ~ {1: 1} ~ [[1]] ~ [[], 1] ~ [[1], []]";
    let double = " ~ [1, 1] ~ (1, 1) ~ [1, 2] ~ [2, 1] ~ {1: 2} ~ {2: 1} ~ {1, 2} ~ {1, '2'}";
    let nested = " ~ {'a': 1, 'b': 2} ~ {'b': 2, 'a': 1} ~ [1, (2, [3, {'k': {'v'}}])]";
    let secret = " ~ SecretStr('**') ~ SecretStr('') ~ SecretBytes(b'**') ~ '**' ~ b'**'";
    let classes = " ~ <class 'm.A'> ~ <class 'm.f.<locals>.A'> ~ <class 'm.G[int]'>";
    let all = [leaves, texts, empty, single, double, nested, secret, classes].concat();
    all_differ(&all.split(" ~ ").map(one).collect::<Vec<_>>());
}

#[test]
fn quoting_escapes_and_the_order_of_sets_do_not_count() {
    for (left, right) in [
        (r#""it's""#, r"'it\'s'"),
        (r"'\x41\u00e9\U0001f600\n\t\r\\'", "'Aé😀\\x0a\\x09\\x0d\\x5c'"),
        (r"'\ud800'", "'\\U0000d800'"),
        (r#"b'\x41"\''"#, r#"b"A\"'""#),
        ("{1, 2, 'x'}", "{'x', 2, 1}"),
        (
            "{frozenset({'bc', 'a'}): {(2,), (1,)}, 1: 2}",
            "{frozenset({'a', 'bc'}): {(1,), (2,)}, 1: 2}",
        ),
        (
            "frozenset({frozenset({1, 2}), frozenset({3, 4})})",
            "frozenset({frozenset({4, 3}), frozenset({2, 1})})",
        ),
    ] {
        assert_eq!(bytes(one(left)), bytes(one(right)), "{left} and {right}");
    }
    // Two lone halves are two characters to Python, and no emoji.
    assert_ne!(bytes(one(r"'\ud83d\ude00'")), bytes(one("'😀'")));
    assert_eq!(bytes(one(r"'\ud800'"))[4..9], [7, 3, 0xED, 0xA0, 0x80]);
    // The border hands lone surrogates over in this form, and bytes that are no UTF-8 do no harm.
    assert_eq!(bytes(b"[('p', '\xED\xA0\x80')]"), bytes(r"[('p', '\ud800')]"));
    assert_ne!(bytes(b"[('p', '\xFF')]"), bytes(r"[('p', '\xff')]"));
}

#[test]
fn what_is_no_literal_bypasses_and_names_the_parameter() {
    for (repr, reason) in [
        ("<function f at 0x7f12ab>", Reason::Address),
        ("<function f.<locals>.<lambda> at 0x7F12AB>", Reason::Address),
        ("<openai.OpenAI object at 0x10>", Reason::Address),
        ("Ans(tool=<bound method f of <x at 0x7f>>, y=1)", Reason::Address),
        ("[1, {'k': (2, <f at 0x7f>)}]", Reason::Address),
        ("Ans(x=1)", Reason::UnknownRepr),
        ("Ans(x='at 0x7f')", Reason::UnknownRepr),
        ("[Ans(x=1), 'wait ... at 0x7f']", Reason::UnknownRepr),
        ("datetime.timedelta(days=1)", Reason::UnknownRepr),
        ("1 day, 0:00:00", Reason::UnknownRepr),
        ("2024-01-01", Reason::UnknownRepr),
        ("<Color.RED: 1>", Reason::UnknownRepr),
        ("{'k': <Color.RED: 'r'>}", Reason::UnknownRepr),
        ("1j", Reason::UnknownRepr),
        ("(1+2j)", Reason::UnknownRepr),
        ("list[int]", Reason::UnknownRepr),
        ("Ellipsis", Reason::UnknownRepr),
        ("OrderedDict({'a': 1})", Reason::UnknownRepr),
        ("bytearray(b'x')", Reason::UnknownRepr),
        ("array([1, 2])", Reason::UnknownRepr),
        ("SecretStr(1)", Reason::UnknownRepr),
        ("Nonesuch", Reason::UnknownRepr),
        ("'a'b", Reason::UnknownRepr),
        ("'a' 'b'", Reason::UnknownRepr),
        (r"'\q'", Reason::UnknownRepr),
        (r"'\U00110000'", Reason::UnknownRepr),
        (r"b'\u0041'", Reason::UnknownRepr),
        ("b'é'", Reason::UnknownRepr),
        ("(1)", Reason::UnknownRepr),
        ("(1, 2,)", Reason::UnknownRepr),
        ("[1,2]", Reason::UnknownRepr),
        ("[1, ]", Reason::UnknownRepr),
        ("{1: 2, 3}", Reason::UnknownRepr),
        ("{1, 2: 3}", Reason::UnknownRepr),
        ("frozenset({1: 2})", Reason::UnknownRepr),
        ("frozenset({})", Reason::UnknownRepr),
        ("01", Reason::UnknownRepr),
        ("-0", Reason::UnknownRepr),
        ("1.", Reason::UnknownRepr),
        (".5", Reason::UnknownRepr),
        ("1e5", Reason::UnknownRepr),
        ("1_000", Reason::UnknownRepr),
        ("+1", Reason::UnknownRepr),
        ("array([0, 1, ..., 9])", Reason::Truncated),
        ("[1, [...]]", Reason::Truncated),
        ("{'a': {...}}", Reason::Truncated),
    ] {
        assert_eq!(bypass(one(repr)), (reason, Some("p".to_owned())), "{repr}");
    }
    assert_eq!(bypass(golden::OBJECT), (Reason::UnknownRepr, Some("extra_body".to_owned())));
    // Text about addresses and dots is just text.
    for repr in ["'<f at 0x7f>'", "['...']", "b' at 0x7f'"] {
        bytes(one(repr));
    }
    let second = "[('a', 1), ('tools', [f(1)]), ('z', <f at 0x7f>)]";
    assert_eq!(bypass(second), (Reason::UnknownRepr, Some("tools".to_owned())));
    let names = [
        (Reason::Address, "address"),
        (Reason::UnknownRepr, "unknown_repr"),
        (Reason::Truncated, "truncated"),
        (Reason::TooDeep, "too_deep"),
        (Reason::UnknownClass, "unknown_class"),
        (Reason::ThinText, "thin_text"),
    ];
    assert!(names.iter().all(|(reason, name)| reason.name() == *name));
}

#[test]
fn other_texts_stand_for_themselves_unless_they_hide_an_object() {
    for text in [
        "",
        "model-1",
        "Sample LLM string configuration.",
        "[",
        "[(",
        "[()]",
        "[1, 2]",
        "[('a',)]",
        "[('a', 1, 2)]",
        "[(1, 'a')]",
        "[('a', 1)",
        "[('a', 'b",
        "[('a', [1",
        "[('a', 1)] ",
        "[('a', 1),]",
        "{",
        "{}",
        "{\"id\"",
        "{'a': 1}",
        "{\"id\": [\"a\"]}---[('stop', None)]",
        "---[]",
        "at 0x7f",
        " at 0x",
        " at 0xyz",
        "<class 'm.A'>",
    ] {
        assert!(is_opaque(text), "{text}");
    }
    for text in ["my model <f at 0x7f>", "{\"id\": <f at 0x7f>", "[('a', 1, <f at 0x7f>)]"] {
        assert_eq!(bypass(text), (Reason::Address, None), "{text}");
    }
    // Nearly LangChain's, and about a class or object: not to be trusted.
    for text in ["[('a', 1, <class 'm.A'>)]", "{\"v\": {\"type\": \"not_implemented\"}}---[]"] {
        assert_eq!(bypass(text), (Reason::UnknownRepr, None), "{text}");
    }
    assert_eq!(params("[]"), Canonical::default());
}

#[test]
fn depth_is_bounded_and_size_is_not() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    bytes(one(&nested(256)));
    bytes(head(&nested(256)));
    assert_eq!(bypass(one(&nested(258))), (Reason::TooDeep, Some("p".to_owned())));
    assert_eq!(bypass(head(&nested(258))), (Reason::TooDeep, Some("p".to_owned())));
    let sets = |depth| format!("{}{{1}}{}", "frozenset({".repeat(depth), "})".repeat(depth));
    bytes(one(&sets(15)));
    assert_eq!(bypass(one(&sets(16))).0, Reason::TooDeep);

    let many = 500_000;
    for (unit, deep) in
        [("[", true), ("(", true), ("{", true), ("{1: ", true), ("'", false), ("\\", false)]
    {
        let text = unit.repeat(many);
        assert!(is_opaque(&text), "{unit}");
        let text = format!("[('p', {text}");
        let reason = if deep { Reason::TooDeep } else { Reason::UnknownRepr };
        assert!(bypass(&text).0 == reason, "{unit}");
    }
    for unit in ["{\"a\":", "{\"id\": ", "[(", "[('a', ", "at 0x", "---"] {
        let text = unit.repeat(many);
        assert!(matches!(llm_string(text.as_bytes()), Ok(Form::Opaque) | Err(_)), "{unit}");
    }
    for repr in [
        format!("'{}'", "x".repeat(many)),
        format!("'{}'", r"\x41".repeat(many)),
        format!("[{}0]", "1, ".repeat(many)),
        format!("{{{}0}}", "'b', 'a', ".repeat(many / 10)),
        format!("[{}0]", "<class 'm'>, ".repeat(many / 10)),
    ] {
        bytes(one(&repr));
    }
}
