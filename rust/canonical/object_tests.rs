//! Objects in a prompt: which of them count by their `repr`, and which have no form.

use super::tests::{bypass, bytes, head};
use super::{Objects, Reason, prompt};

/// An object as LangChain writes it, `repr` unescaped.
fn object(id: &str, repr: &str) -> String {
    let id: Vec<_> = id.split('.').map(|name| format!("{name:?}")).collect();
    let repr = repr.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        r#"{{"lc": 1, "type": "not_implemented", "id": [{}], "repr": "{repr}"}}"#,
        id.join(", ")
    )
}

/// A prompt with this value in a content block.
fn asked(value: &str) -> String {
    of_class("HumanMessage", value)
}

fn of_class(class: &str, value: &str) -> String {
    format!(
        r#"[{{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "{class}"], "kwargs": {{"content": [{{"type": "x", "v": {value}}}]}}}}]"#
    )
}

fn form(text: &str, objects: Objects) -> Result<Option<Vec<u8>>, Reason> {
    let mut out = Vec::new();
    Ok(prompt(text.as_bytes(), objects, &mut out)?.then_some(out))
}

#[track_caller]
fn kept(id: &str, repr: &str) -> Vec<u8> {
    let found = form(&asked(&object(id, repr)), Objects::ByRepr);
    found.unwrap_or_else(|reason| panic!("{repr}: {reason:?}")).expect("a list of messages")
}

#[track_caller]
fn refused(id: &str, repr: &str, reason: Reason) {
    let object = object(id, repr);
    assert_eq!(form(&asked(&object), Objects::ByRepr), Err(reason), "{repr}");
    // Nor does it hide in what is nearly a list of messages.
    let own = of_class("MyMessage", &object);
    assert_eq!(form(&own, Objects::ByRepr), Err(reason), "{repr}");
    let whole = head(&object);
    assert_eq!(bypass(whole), (reason, Some("p".to_owned())), "{repr}");
}

/// Of each type what Python prints: two values that differ.
const COMPLETE: &[(&str, &str, &str)] = &[
    ("builtins.bytes", r"b'x ... at 0x7f\x00\''", r#"b"x'""#),
    ("builtins.bytearray", r"bytearray(b'x\xff')", "bytearray(b'')"),
    ("builtins.complex", "(1+2j)", "(1-2j)"),
    ("builtins.complex", "1j", "-0j"),
    ("builtins.complex", "(nan+infj)", "(1.5e-07-infj)"),
    ("builtins.range", "range(0, 3)", "range(0, 3, -1)"),
    ("builtins.ellipsis", "Ellipsis", "bytearray(b'no other')"),
    ("datetime.date", "datetime.date(2026, 11, 29)", "datetime.date(2026, 11, 2)"),
    ("datetime.time", "datetime.time(1, 2)", "datetime.time(1, 2, fold=1)"),
    (
        "datetime.datetime",
        "datetime.datetime(2026, 1, 2, 0, 0, fold=1, tzinfo=datetime.timezone.utc)",
        "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)",
    ),
    (
        "datetime.datetime",
        "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(seconds=3600), 'CET'))",
        "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(seconds=3600)))",
    ),
    ("datetime.timedelta", "datetime.timedelta(days=-1, seconds=3)", "datetime.timedelta(0)"),
    ("datetime.timezone", "datetime.timezone.utc", "datetime.timezone(datetime.timedelta(0), 'x')"),
    ("decimal.Decimal", "Decimal('1.0')", "Decimal('1.00')"),
    ("fractions.Fraction", "Fraction(1, 2)", "Fraction(-1, 2)"),
    ("uuid.UUID", "UUID('0f8fad5b-d9cb-469f-a165-70867728950e')", "UUID('0f8fad5b')"),
    ("pathlib.PurePosixPath", "PurePosixPath('a')", "PurePosixPath('b')"),
    ("pathlib.PosixPath", r#"PosixPath("it's")"#, r#"PosixPath('it\'s "x"')"#),
    ("pathlib.PureWindowsPath", "PureWindowsPath('a')", "PureWindowsPath('...')"),
    ("pathlib.WindowsPath", "WindowsPath('c:/a')", "WindowsPath('c:/b')"),
    ("pathlib._local.PosixPath", "PosixPath('a')", "PosixPath('b')"),
    ("builtins.set", "{1, 'a'}", "set()"),
    ("builtins.frozenset", "frozenset({1})", "frozenset()"),
    ("builtins.set", "{datetime.date(2026, 1, 2), b'x', (1+2j)}", "{Decimal('1')}"),
];

#[test]
fn what_prints_all_that_it_holds_counts_by_that() {
    for (id, one, other) in COMPLETE {
        assert_ne!(kept(id, one), kept(id, other), "{one}");
        assert_eq!(kept(id, one), kept(id, one));
        // So it does in the settings of a model, and where the prompt is nearly a list of messages.
        assert_ne!(bytes(head(&object(id, one))), bytes(head(&object(id, other))));
        assert_eq!(form(&of_class("MyMessage", &object(id, one)), Objects::ByRepr), Ok(None));
        // Not so of another type of that name.
        let mine = object(&format!("mine.{id}"), one);
        assert!(form(&asked(&mine), Objects::ByRepr).is_err(), "{one}");
    }
    // Two types may print the same.
    assert_ne!(kept("builtins.set", "{1}"), kept("builtins.frozenset", "{1}"));
}

#[test]
fn a_set_has_no_order_at_any_depth() {
    for (one, other) in [
        ("{1, 'a', b'x'}", "{b'x', 1, 'a'}"),
        ("{frozenset({'a', 'b'}), (1, 2)}", "{(1, 2), frozenset({'b', 'a'})}"),
        ("{Decimal('1'), Decimal('2')}", "{Decimal('2'), Decimal('1')}"),
    ] {
        assert_eq!(kept("builtins.set", one), kept("builtins.set", other));
    }
    let of = |repr: &str| kept("builtins.frozenset", &format!("frozenset({{{repr}}})"));
    assert_eq!(of("(1, 2), (2, 1)"), of("(2, 1), (1, 2)"));
    assert_ne!(of("(1, 2)"), of("(2, 1)"));
    assert_ne!(of("1"), of("True"));
}

#[test]
fn what_need_not_say_everything_is_a_bypass() {
    for (id, repr, reason) in [
        // Numpy, pandas, torch, Pillow, and anybody's.
        ("numpy.ndarray", "array([0., 0., 0., ..., 0., 0., 0.])", Reason::Truncated),
        ("numpy.ndarray", "array([1, 2])", Reason::UnknownRepr),
        ("pandas.core.frame.DataFrame", "   a\n0  1\n", Reason::UnknownRepr),
        ("polars.dataframe.frame.DataFrame", "shape: (9, 1)\n│ 0   │\n│ …   │", Reason::Truncated),
        ("torch.Tensor", "tensor([1., 2.])", Reason::UnknownRepr),
        ("PIL.Image.Image", "<PIL.Image.Image image mode=L size=1x1 at 0x7F12AB>", Reason::Address),
        ("m.T", "T(1)", Reason::UnknownRepr),
        ("m.T", "T(...) at 0x7f", Reason::Address),
        ("m.Color", "<Color.RED: 1>", Reason::UnknownRepr),
        ("collections.deque", "deque([1])", Reason::UnknownRepr),
        ("collections.OrderedDict", "OrderedDict({'a': 1})", Reason::UnknownRepr),
        ("builtins.memoryview", "<memory at 0x7f09b9db1a80>", Reason::Address),
        // A name, whose offsets are another machine's, or another file's.
        ("zoneinfo.ZoneInfo", "zoneinfo.ZoneInfo(key='Europe/Berlin')", Reason::UnknownRepr),
        (
            "datetime.datetime",
            "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin'))",
            Reason::UnknownRepr,
        ),
        (
            "datetime.datetime",
            "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=tzlocal())",
            Reason::UnknownRepr,
        ),
        (
            "datetime.datetime",
            "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=<UTC>)",
            Reason::UnknownRepr,
        ),
        // Of a known type, and with something else in it.
        ("builtins.set", "{<T at 0x7f>}", Reason::Address),
        ("builtins.set", "{1, T(x=...)}", Reason::Truncated),
        ("builtins.frozenset", "frozenset({(1, T(1))})", Reason::UnknownRepr),
        ("builtins.set", "{<Color.RED: 1>}", Reason::UnknownRepr),
        ("builtins.set", "{<class 'm.A'>}", Reason::UnknownRepr),
        ("builtins.set", "set[int]", Reason::UnknownRepr),
        // A class, not one of its values; and values that are no text of these types.
        ("decimal.Decimal", "<class 'decimal.Decimal'>", Reason::UnknownRepr),
        ("builtins.bytes", "'x'", Reason::UnknownRepr),
        ("builtins.bytes", "None", Reason::UnknownRepr),
        ("builtins.set", "[1]", Reason::UnknownRepr),
        ("builtins.bytes", "b'x' + b'y'", Reason::UnknownRepr),
        ("builtins.bytes", "b'x", Reason::UnknownRepr),
        ("builtins.range", "range(0, 3", Reason::UnknownRepr),
        ("builtins.range", "range()", Reason::UnknownRepr),
        ("builtins.complex", "(1 2j)", Reason::UnknownRepr),
        ("builtins.complex", "(1nanj)", Reason::UnknownRepr),
        ("builtins.complex", "1", Reason::UnknownRepr),
        ("datetime.date", "datetime.dates(1)", Reason::UnknownRepr),
        ("decimal.Decimal", "Decimal(Decimal(Decimal(Decimal('1'))))", Reason::UnknownRepr),
    ] {
        refused(id, repr, reason);
    }
    // No end to the brackets, and nothing but them.
    refused("builtins.set", &"{".repeat(100_000), Reason::UnknownRepr);
    refused("decimal.Decimal", &"Decimal(".repeat(100_000), Reason::UnknownRepr);
}

#[test]
fn an_object_is_whole_or_has_no_form() {
    let whole = object("builtins.bytes", "b'x'");
    assert!(form(&asked(&whole), Objects::ByRepr).is_ok());
    for (part, other) in [
        (r#", "repr": "b'x'""#, ""),
        (r#""b'x'""#, "null"),
        (r#""b'x'""#, r#"["b'x'"]"#),
        (r#""b'x'""#, r#""b'y'", "repr": "b'x'""#),
        (r#"["builtins", "bytes"]"#, r#""bytes""#),
        (r#""id": ["builtins", "bytes"], "#, ""),
        (r#""lc": 1"#, r#""lc": 1, "more": 1"#),
    ] {
        let text = whole.replace(part, other);
        assert_ne!(text, whole);
        assert_eq!(form(&asked(&text), Objects::ByRepr), Err(Reason::UnknownRepr), "{text}");
        // One that somebody has seen counts all the same.
        assert!(form(&asked(&text), Objects::ById).is_ok());
    }
    // In any order of its members.
    let other =
        r#"{"repr": "b'x'", "id": ["builtins", "bytes"], "lc": 1, "type": "not_implemented"}"#;
    assert!(form(&asked(other), Objects::ByRepr).is_ok());
    assert_eq!(
        form(&asked(&other.replace("builtins", "m")), Objects::ByRepr),
        Err(Reason::UnknownRepr)
    );
}

#[test]
fn objects_that_were_seen_count_by_their_type_alone() {
    let by_id = |value: &str| form(&asked(value), Objects::ById);
    let one = by_id(&object("m.T", "<T at 0x7f>"));
    assert!(matches!(one, Ok(Some(_))));
    for repr in ["<T at 0x70>", "T(...)", "T(1)", ""] {
        assert_eq!(by_id(&object("m.T", repr)), one, "{repr}");
    }
    assert_ne!(by_id(&object("m.U", "<T at 0x7f>")), one);
    let two = |one: &str, other: &str| by_id(&format!("[{one}, {other}]"));
    let (bytes, date) = (object("builtins.bytes", "b'x'"), object("datetime.date", "d"));
    assert_ne!(two(&bytes, &date), two(&date, &bytes));
    // Inside another one, and where the object is the block or the argument itself.
    let nested = |repr: &str| by_id(&format!(r#"{{"a": [{}]}}"#, object("m.T", repr)));
    assert_eq!(nested("1"), nested("2"));
    for place in [r#""content": VALUE"#, r#""content": [VALUE, "x"]"#] {
        let [one, other] = ["1", "2"].map(|repr| {
            let place = place.replace("VALUE", &object("m.T", repr));
            let text = asked("0").replace(r#""content": [{"type": "x", "v": 0}]"#, &place);
            form(&text, Objects::ById).expect("no bypass").expect("a list of messages")
        });
        assert_eq!(one, other, "{place}");
    }
    // Those that are masked stay as they are.
    let secret = |text: &str| by_id(&object("pydantic.types.SecretStr", text));
    assert_ne!(secret("SecretStr('**********')"), secret("SecretStr('')"));
    let own = of_class("MyMessage", &object("m.T", "<T at 0x7f>"));
    assert_eq!(form(&own, Objects::ById), Ok(None));
}

#[test]
fn what_is_nearly_a_list_of_messages_hides_no_object() {
    let bad = object("m.T", "T(1)");
    let list = |objects: &[&str]| of_class("MyMessage", &format!("[{}]", objects.join(", ")));
    let (bytes, worst) = (object("builtins.bytes", "b'x'"), object("m.T", "<T at 0x7f>"));
    let cut = object("m.T", "T(…)");
    for (objects, reason) in [
        (&[&bytes[..], &bad][..], Some(Reason::UnknownRepr)),
        (&[&bad, &cut, &bytes], Some(Reason::Truncated)),
        (&[&bad, &worst, &cut], Some(Reason::Address)),
        (&[&bytes], None),
    ] {
        let expected = reason.map_or(Ok(None), Err);
        assert_eq!(form(&list(objects), Objects::ByRepr), expected);
        let of_ai = list(objects).replace("MyMessage", "AIMessage");
        assert_eq!(form(&of_ai, Objects::ByRepr).err(), reason);
    }
    // Not even where the text cannot be read to its end.
    let deep = format!("[{}{}, {bytes}]", "[".repeat(300), "]".repeat(300));
    for text in [&of_class("HumanMessage", &deep), &format!("{} x", list(&[&bytes]))] {
        assert_eq!(form(text, Objects::ByRepr), Err(Reason::UnknownRepr));
        assert_eq!(form(&format!("{text}<T at 0x7f>"), Objects::ByRepr), Err(Reason::Address));
    }
    // Somebody's own text, which says these words.
    for text in [
        r#"["not_implemented", "..."]"#,
        r#"{"type": "not_implemented"}"#,
        r#"Is "not_implemented" …?"#,
    ] {
        assert_eq!(form(text, Objects::ByRepr), Ok(None), "{text}");
    }
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let form = kept("datetime.date", "datetime.date(1, 2, 3)");
    let value = b"\x07\x04repr\x11\x16datetime.date(1, 2, 3)\x00";
    assert!(form.windows(value.len()).any(|window| window == value));
    let form = kept("builtins.set", "{2, 1}");
    let value = b"\x07\x04repr\x0F\x04\x011\x04\x012\x00\x00";
    assert!(form.windows(value.len()).any(|window| window == value));
}
