//! Settings that do not count: by their exact names, in every form of a request.

use super::*;
use crate::canonical::{Form, Reason, llm_string_without};

fn ignoring(names: &[&str]) -> Ignored {
    Ignored::new(names.iter().map(|name| name.as_bytes().to_vec()))
}

/// The canonical form of a text, without these settings.
fn form(text: &str, names: &[&str]) -> Vec<u8> {
    match llm_string_without(text.as_bytes(), &ignoring(names)) {
        Ok(Form::Params(whole)) => whole.bytes,
        other => panic!("{text}: {other:?}"),
    }
}

fn head(arguments: &str) -> String {
    format!(
        r#"{{"id": ["a", "B"], "kwargs": {{{arguments}}}, "lc": 1, "type": "constructor"}}---[]"#
    )
}

/// Both texts say the same without these settings, and not with them.
fn are_one(one: &str, other: &str, names: &[&str]) {
    assert_eq!(form(one, names), form(other, names), "{one} and {other}");
    assert_ne!(form(one, &[]), form(other, &[]), "{one} and {other}");
}

fn differ(one: &str, other: &str, names: &[&str]) {
    assert_ne!(form(one, names), form(other, names), "{one} and {other}");
}

#[test]
fn a_setting_is_ignored_in_the_head_and_in_the_tail() {
    are_one("[('stop', None), ('user', 'a')]", "[('stop', None), ('user', 'b')]", &["user"]);
    are_one("[('stop', None), ('user', 'a')]", "[('stop', None)]", &["user"]);
    are_one(&head(r#""user": "a", "x": 1"#), &head(r#""x": 1"#), &["user"]);
    differ(&head(r#""user": "a", "x": 1"#), &head(r#""x": 2"#), &["user"]);
    differ("[('user2', 1)]", "[('user2', 2)]", &["user"]);
    differ("[('use', 1)]", "[('use', 2)]", &["user"]);
    differ("[('x', {'user': 1})]", "[('x', {'user': 2})]", &["user"]);
}

#[test]
fn a_name_leads_into_dicts_and_no_further() {
    let names = &["metadata.request_id"];
    are_one("[('metadata', {'request_id': 1, 'x': 2})]", "[('metadata', {'x': 2})]", names);
    are_one("[('metadata', {'request_id': {'a': 1}})]", "[]", names);
    differ("[('metadata', {'request_id2': 1})]", "[('metadata', {'request_id2': 2})]", names);
    differ("[('metadata', {'x': {'request_id': 1}})]", "[('metadata', {'x': {}})]", names);
    differ("[('metadata', [{'request_id': 1}])]", "[('metadata', [{'request_id': 2}])]", names);
    differ("[('metadata', 'request_id')]", "[('metadata', 'other')]", names);
    differ("[('request_id', 1)]", "[('request_id', 2)]", names);
    // A key may hold a dot.
    are_one(
        "[('metadata', {'a.b': {'c': 1}})]",
        "[('metadata', {'a.b': {'c': 2}})]",
        &["metadata.a.b.c"],
    );
    are_one("[('a.b', 1)]", "[('a.b', 2)]", &["a.b"]);
}

#[test]
fn the_names_of_headers_have_no_case_and_others_have() {
    let names = &["default_headers.x-request-id"];
    are_one(
        &head(r#""default_headers": {"X-Request-ID": "1", "X-Team": "a"}"#),
        &head(r#""default_headers": {"x-request-id": "2", "X-Team": "a"}"#),
        names,
    );
    differ(
        &head(r#""default_headers": {"X-Team": "1"}"#),
        &head(r#""default_headers": {"x-team": "1"}"#),
        names,
    );
    are_one("[('h', {'Headers': {'X': 1}})]", "[('h', {'Headers': {'x': 2}})]", &["h.Headers.x"]);
    differ(
        "[('default_Headers', {'x': 1})]",
        "[('default_headers', {'x': 1})]",
        &["default_headers.x"],
    );
    differ("[('metadata', {'X': 1})]", "[('metadata', {'X': 2})]", &["metadata.x"]);
}

#[test]
fn a_name_leads_into_a_list_of_pairs() {
    let names = &["h.id"];
    are_one("[('h', [('id', 1), ('x', 2)])]", "[('h', [('x', 2)])]", names);
    are_one("[('h', [['id', 1]])]", "[]", names);
    are_one("[('h', [('x', 2), ('id', 1), ('id', 2)])]", "[('h', [('x', 2)])]", names);
    differ("[('h', [('x', 2), ('id', 1)])]", "[('h', [['x', 2], ('id', 1)])]", names);
    differ("[('h', [('id', 1, 2)])]", "[('h', [('id', 1, 3)])]", names);
    differ("[('h', [('id', 1), 2])]", "[('h', [('id', 2), 2])]", names);
    differ("[('h', (('id', 1),))]", "[('h', (('id', 2),))]", names);
    differ("[('h', [])]", "[]", names);
}

#[test]
fn what_is_passed_on_is_named_as_if_it_stood_by_itself() {
    for container in ["model_kwargs", "extra_body"] {
        let with = |value: &str| format!("[('{container}', {{'user': {value}, 'x': 1}})]");
        are_one(&with("'a'"), &with("'b'"), &["user"]);
        are_one(&with("'a'"), &with("'b'"), &[&format!("{container}.user")]);
    }
    are_one("[('model_kwargs', {'user': 'a'})]", "[]", &["user"]);
    are_one("[('model_kwargs', {'extra_body': {'m': {'id': 1}}})]", "[]", &["m.id"]);
    let deep =
        |value| format!("[('model_kwargs', {{'x': {{'extra_body': {{'user': {value}}}}}}})]");
    differ(&deep(1), &deep(2), &["user"]);
}

#[test]
fn an_object_in_a_setting_that_is_ignored_does_not_matter() {
    let names = &["handler"];
    assert_eq!(form("[('handler', <f at 0x7f1>), ('x', 1)]", names), form("[('x', 1)]", names));
    let head_of = |repr| {
        let object = r#""lc": 1, "type": "not_implemented", "id": ["m", "C"], "repr""#;
        head(&format!(r#""handler": {{{object}: "{repr}"}}"#))
    };
    assert_eq!(form(&head_of("C at 0x7f1"), names), form(&head("\"y\": 1"), &["y"]));
    let refused = llm_string_without(b"[('h', {'handler': <f at 0x7f1>})]", &ignoring(names));
    assert_eq!(refused.expect_err("an object").reason, Reason::Address);
}

#[test]
fn a_class_in_a_setting_that_is_ignored_is_not_named() {
    let classes = |names: &[&str]| {
        let text = b"[('a', {'x': <class 'm.A'>, 'y': [<class 'm.B'>, {<class 'm.C'>: 1}]})]";
        match llm_string_without(text, &ignoring(names)) {
            Ok(Form::Params(whole)) => whole.classes.into_iter().map(|it| it.name).collect(),
            other => panic!("{other:?}"),
        }
    };
    let all: Vec<String> = classes(&[]);
    assert_eq!(all, ["m.A", "m.B", "m.C"]);
    assert_eq!(classes(&["a.x"]), ["m.B", "m.C"]);
    assert_eq!(classes(&["a.y"]), ["m.A"]);
    assert_eq!(classes(&["a"]), [""; 0]);
}

#[test]
fn the_envelope_and_a_text_of_no_form_are_left_alone() {
    let names = &["name", "model"];
    differ(
        r#"{"id": ["a", "B"], "kwargs": {}, "lc": 1, "name": "x", "type": "constructor"}---[]"#,
        r#"{"id": ["a", "B"], "kwargs": {}, "lc": 1, "name": "y", "type": "constructor"}---[]"#,
        names,
    );
    assert_eq!(llm_string_without(b"model", &ignoring(names)), Ok(Form::Opaque));
}

/// A description of one entry.
fn described(place: u8, name: &[u8], write: impl FnOnce(&mut Description)) -> Vec<u8> {
    let mut told = Description::default();
    told.entry(place, name);
    write(&mut told);
    told.finish()
}

fn client(header: &[u8], team: &[u8], query: &[u8]) -> Vec<u8> {
    described(5, b"client", |told| {
        told.open(Container::Object);
        told.text(b"http");
        told.text(b"headers");
        told.open(Container::List);
        told.text(b"X-Request-Id");
        told.text(header);
        told.bytes(b"x-team");
        told.bytes(team);
        told.close();
        told.text(b"client");
        told.open(Container::Object);
        told.text(b"httpx");
        told.text(b"query");
        told.open(Container::Dict);
        told.text(b"trace");
        told.text(query);
        told.close();
        told.close();
        told.close();
    })
}

#[test]
fn headers_and_query_of_a_client_are_ignored_by_the_names_that_they_have_in_settings() {
    let names = ignoring(&["default_headers.x-request-id", "default_query.trace"]);
    let kept = |header, team, query| names.keep_description(&client(header, team, query));
    assert_eq!(kept(b"1", b"a", b"1"), kept(b"2", b"a", b"2"));
    assert_ne!(kept(b"1", b"a", b"1"), kept(b"1", b"b", b"1"));
    let others = ignoring(&["x-request-id", "metadata.x-request-id", "default_headers.trace"]);
    let [one, other] = [b"1", b"2"].map(|it| others.keep_description(&client(it, b"a", b"1")));
    assert_ne!(one, other);
    let [one, other] = [b"1", b"2"].map(|it| others.keep_description(&client(b"1", b"a", it)));
    assert_ne!(one, other);
}

#[test]
fn headers_and_query_of_a_client_stay_if_a_name_is_that_of_something_else() {
    let others = [
        "tool_headers.x-request-id",
        "metadata.headers.x-request-id",
        "x.default_headers.x-request-id",
        "Default_headers.x-request-id",
        "default_headers.x-request",
        "search_query.trace",
        "web.search_query.trace",
        "default_query.Trace",
    ];
    for name in others {
        let names = ignoring(&[name]);
        let kept = |header, query| names.keep_description(&client(header, b"a", query));
        assert_ne!(kept(b"1", b"1"), kept(b"2", b"1"), "{name}");
        assert_ne!(kept(b"1", b"1"), kept(b"1", b"2"), "{name}");
    }
}

#[test]
fn fields_and_options_are_ignored_and_other_places_are_not() {
    let names = ignoring(&["user"]);
    let with = |place| described(place, b"user", |told| told.int(b"1"));
    let nothing = names.keep_description(b"");
    for place in [4, 6] {
        assert_eq!(names.keep_description(&with(place)), nothing);
    }
    for place in [3, 5, 7, 8, 9] {
        assert_ne!(names.keep_description(&with(place)), nothing);
    }
    assert!(names.keep_description(b"no description").starts_with(b"no description"));
}

#[test]
fn what_is_ignored_is_part_of_a_description() {
    let told: Vec<_> = [&["a"][..], &["b"], &["a", "b"], &["a.b"]]
        .map(|names| ignoring(names).keep_description(b""))
        .into();
    for (at, one) in told.iter().enumerate() {
        assert!(told[..at].iter().all(|other| other != one));
        assert_eq!(entries(one).map(|it| (it.place, it.name)).collect::<Vec<_>>(), [ENTRY]);
    }
}

#[test]
fn any_bytes_are_read() {
    let names = ignoring(&["a", "default_headers.x", "model_kwargs.y"]);
    let sound = client(b"1", b"a", b"1");
    for end in 0..sound.len() {
        let _ = names.keep_description(&sound[..end]);
        for place in 0..11 {
            let _ = names.keep_description(&[&[place, tag::STR, 1, b'a'], &sound[end..]].concat());
        }
    }
    for byte in 0..=255 {
        let _ = names.keep(b"model_kwargs", &[tag::DICT, byte, 1, b'y', byte]);
        let _ = classes_in(&[byte, 200, byte]);
    }
}
