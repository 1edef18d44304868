//! What a prompt's canonical form drops, and what it keeps.

use super::super::Reason;
use super::{Objects, prompt};

fn llm_string(text: &str) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let is_canonical = prompt(text.as_bytes(), Objects::ByRepr, &mut out).expect("no address");
    assert!(out.starts_with(b"before") && is_canonical == (out.len() > 6));
    is_canonical.then_some(out)
}

fn read(text: impl AsRef<[u8]>) -> Result<bool, Reason> {
    prompt(text.as_ref(), Objects::ByRepr, &mut Vec::new())
}

fn message(class: &str, kwargs: &str) -> String {
    format!(
        r#"{{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "{class}"], "kwargs": {{{kwargs}}}}}"#
    )
}

fn ai(kwargs: &str) -> String {
    format!("[{}]", message("AIMessage", kwargs))
}

#[track_caller]
fn same(one: &str, other: &str) {
    let (one, other) = (llm_string(one), llm_string(other));
    assert!(one.is_some() && one == other, "{one:?} {other:?}");
}

#[track_caller]
fn differ(one: &str, other: &str) {
    let (one, other) = (llm_string(one), llm_string(other));
    assert!(one.is_some() && other.is_some() && one != other);
}

const BASE: &str = r#""content": "hi", "name": "a", "tool_calls": []"#;

#[test]
fn white_space_and_the_order_of_the_envelope_do_not_count() {
    same(
        &ai(BASE),
        "[ {\"kwargs\":{\"tool_calls\":[],\"name\":\"a\",\n\"content\":\"\\u0068i\"},\"id\":[\"langchain\",\
         \"schema\",\"messages\",\"AIMessage\"],\"lc\":1,\t\"type\":\"constructor\"}\r\n] ",
    );
}

#[test]
fn what_no_provider_is_sent_does_not_count() {
    for extra in [
        r#""id": "lc_run--1""#,
        r#""id": null"#,
        r#""type": "ai""#,
        r#""usage_metadata": {"input_tokens": 1, "total_cost": 0}"#,
        r#""artifact": {"lc": 1, "type": "not_implemented", "id": ["x"], "repr": "<X object at 0x7f00>"}"#,
    ] {
        same(&ai(BASE), &ai(&format!("{BASE}, {extra}")));
        same(&ai(BASE), &ai(&format!("{extra}, {BASE}")));
    }
}

#[test]
fn the_mark_of_a_hit_does_not_count_and_its_name_elsewhere_does() {
    let with = |metadata: &str| ai(&format!(r#"{BASE}, "response_metadata": {metadata}"#));
    let first = with(r#"{"llmemo": {"hit": true, "age": [1.5]}, "id": "resp_1", "x": {"y": 1}}"#);
    let last = with(r#"{"id": "resp_1", "x": {"y": 1}, "llmemo": {"age": 2}}"#);
    let plain = with(r#"{"id": "resp_1", "x": {"y": 1}}"#);
    same(&plain, &first);
    same(&plain, &last);
    // `dumps` leaves empty metadata out. What is written stays, as before there were marks.
    same(&ai(BASE), &with(r#"{"llmemo": {"hit": true}}"#));
    differ(&ai(BASE), &with("{}"));
    differ(&plain, &with(r#"{"id": "resp_1", "x": {"y": 1, "llmemo": 1}}"#));
    differ(&plain, &with(r#"{"id": "resp_1", "x": {"y": 1}, "llmemo2": 1}"#));
    differ(&ai(BASE), &with(r#"["llmemo", 1]"#));
    differ(&ai(BASE), &ai(&format!(r#"{BASE}, "additional_kwargs": {{"llmemo": 1}}"#)));
    let twice =
        format!(r#"{BASE}, "response_metadata": {{"llmemo": 1}}, "response_metadata": {{}}"#);
    assert_eq!(read(ai(&twice)), Ok(false));
}

#[test]
fn a_chunk_is_its_message() {
    for class in ["AI", "Human", "System", "Tool", "Function", "Chat"] {
        let [whole, chunk] = ["Message", "MessageChunk"]
            .map(|end| format!("[{}]", message(&format!("{class}{end}"), BASE)));
        same(&whole, &chunk);
    }
    let chunk =
        format!(r#"{BASE}, "tool_call_chunks": [{{"index": 0}}], "chunk_position": "last""#);
    same(&ai(BASE), &format!("[{}]", message("AIMessageChunk", &chunk)));
    let object = r#"{"lc": 1, "type": "not_implemented", "id": ["x"], "repr": "<X at 0x7f00>"}"#;
    let chunk_of = chunk.replace(r#"{"index": 0}"#, object);
    same(&ai(BASE), &format!("[{}]", message("AIMessageChunk", &chunk_of)));
    // On a whole message these would be somebody's own attributes.
    assert_eq!(read(ai(&chunk_of)), Err(Reason::Address));
    differ(&ai(BASE), &ai(&chunk));
}

#[test]
fn ids_that_langchain_makes_up_for_blocks_do_not_count_and_others_do() {
    let block = |id: &str| ai(&format!(r#""content": [{{"type": "text", "text": "x"{id}}}, "y"]"#));
    let made_up = r#", "id": "lc_0f8fad5b-d9cb-469f-a165-70867728950e""#;
    same(&block(""), &block(made_up));
    for kept in [
        r#", "id": "msg_1""#,
        r#", "id": "lc_1""#,
        r#", "id": "lc_0f8fad5b_d9cb_469f_a165_70867728950e""#,
        r#", "id": "run-0f8fad5b-d9cb-469f-a165-7086772895""#,
        r#", "id": null"#,
        r#", "ref": "lc_0f8fad5b-d9cb-469f-a165-70867728950e""#,
    ] {
        differ(&block(""), &block(kept));
    }
    // By path: an argument of a tool may be called `id`, and hold anything.
    let tool =
        |id: &str| ai(&format!(r#""content": "", "tool_calls": [{{"args": {{"x": 1{id}}}}}]"#));
    differ(&tool(""), &tool(made_up));
    let nested = |id: &str| ai(&format!(r#""content": [{{"inner": [{{"x": 1{id}}}]}}]"#));
    differ(&nested(""), &nested(made_up));
}

#[test]
fn what_a_provider_is_sent_counts() {
    let base = ai(BASE);
    for other in [
        r#""content": "Hi", "name": "a", "tool_calls": []"#,
        r#""content": "hi ", "name": "a", "tool_calls": []"#,
        r#""content": "hi", "name": "b", "tool_calls": []"#,
        r#""content": "hi", "tool_calls": []"#,
        r#""content": "hi", "name": "a", "tool_calls": {}"#,
        r#""content": ["hi"], "name": "a", "tool_calls": []"#,
        r#""content": "hi", "name": "a", "tool_calls": [], "response_metadata": {"id": "resp_1"}"#,
        r#""content": "hi", "name": "a", "tool_calls": [], "response_metadata": {"model_provider": "x"}"#,
        r#""content": "hi", "name": "a", "tool_calls": [], "additional_kwargs": {"usage_metadata": 1}"#,
        r#""content": "hi", "name": "a", "tool_calls": [], "tool_call_id": "1""#,
    ] {
        differ(&base, &ai(other));
    }
    let role = |class: &str| format!("[{}]", message(class, BASE));
    differ(&role("HumanMessage"), &role("SystemMessage"));
    // Unicode form, message order, numbers, booleans, order of a schema's keys.
    let content = |text: &str| ai(&format!(r#""content": {text}"#));
    differ(&content("\"\u{e9}\""), &content("\"e\u{301}\""));
    differ(&content(r#""\ud800""#), &content(r#""\ud801""#));
    same(&content(r#""\u00e9""#), &content("\"\u{e9}\""));
    for pair in ["1", "1.0", "true", "1e0", "\"1\"", "NaN", "null"].windows(2) {
        differ(
            &content(&format!("[{{\"x\": {}}}]", pair[0])),
            &content(&format!("[{{\"x\": {}}}]", pair[1])),
        );
    }
    differ(&content(r#"[{"a": 1, "b": 2}]"#), &content(r#"[{"b": 2, "a": 1}]"#));
    differ(&content(r#"[{"a": 1, "a": 2}]"#), &content(r#"[{"a": 2}]"#));
    let (a, b) = (
        message("HumanMessage", r#""content": "a""#),
        message("HumanMessage", r#""content": "b""#),
    );
    differ(&format!("[{a}, {b}]"), &format!("[{b}, {a}]"));
    differ(&format!("[{a}, {a}]"), &format!("[{a}]"));
}

#[test]
fn anything_else_stands_for_itself() {
    let human = message("HumanMessage", r#""content": "a""#);
    let own = human.replace("schema", "mine");
    for text in [
        "",
        " ",
        "[]",
        "{}",
        "hello",
        "[1]",
        "[[]]",
        "null",
        "[{}]",
        "[",
        "[{",
        "\u{0}",
        &human,
        &format!("[{human}"),
        &format!("[{human}]]"),
        &format!("[{human}] x"),
        &format!("[{human}, 1]"),
        &format!("[{human},]"),
        &format!("[{own}]"),
        &format!("[{}]", human.replace("HumanMessage", "MyMessage")),
        &format!("[{}]", human.replace("\"lc\": 1", "\"lc\": 2")),
        &format!("[{}]", human.replace("\"lc\": 1", "\"lc\": 1, \"lc\": 1")),
        &format!("[{}]", human.replace("\"lc\": 1", "\"lc\": 1, \"more\": 1")),
        &format!("[{}]", human.replace("constructor", "secret")),
        &ai(r#""content": "a", "content": "b""#),
        &ai(r#""content": 01"#),
        &ai(r#""content": [}"#),
        &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        &ai(&format!(r#""content": {}{}"#, "[".repeat(100_000), "]".repeat(100_000))),
    ] {
        assert_eq!(llm_string(text), None, "{}", &text[..text.len().min(200)]);
    }
}

#[test]
fn an_address_in_what_counts_is_a_bypass() {
    let object = |repr: &str| {
        ai(&format!(
            r#""content": "", "additional_kwargs": {{"x": {{"lc": 1, "type": "not_implemented", "id": ["a"], "repr": "{repr}"}}}}"#
        ))
    };
    assert_eq!(read(object("<X at 0x7f0>")), Err(Reason::Address));
    assert_eq!(read(object("X(1)")), Err(Reason::UnknownRepr));
    // The bytes of an address: of a text, not of its encoding (0x20 is also a length), nor of a tree.
    let at = format!("at 0x1{}", "x".repeat(0x20 - 6));
    for (repr, is_address) in [(format!(" {at}"), true), (at, false)] {
        let found = read(object(&repr));
        let reason = if is_address { Reason::Address } else { Reason::UnknownRepr };
        assert_eq!(found, Err(reason), "{repr}");
    }
    let tree = object("").replace(r#""repr": """#, r#""repr": ["<X at 0x7f0>"]"#);
    assert_eq!(read(tree), Err(Reason::UnknownRepr));
    // Neither a harmless object before it nor a class of the user's own hides it.
    let two = |first: &str, second: &str| {
        let object = |repr: &str| {
            format!(r#"{{"lc": 1, "type": "not_implemented", "id": ["a"], "repr": "{repr}"}}"#)
        };
        ai(&format!(
            r#""content": "", "additional_kwargs": {{"x": {}, "y": {}}}"#,
            object(first),
            object(second)
        ))
    };
    for (first, second) in [("X(1)", "<X at 0x7f0>"), ("<X at 0x7f0>", "X(1)")] {
        assert_eq!(read(two(first, second)), Err(Reason::Address));
        let own = two(first, second).replace("AIMessage", "MyMessage");
        assert_eq!(read(own), Err(Reason::Address));
    }
    // In somebody's text it is only text.
    same(&ai(r#""content": "<X at 0x7f0>""#), &ai(r#""content": "<X at 0x7f0>""#));
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let text =
        ai(&format!(r#"{BASE}, "content_": [{{"id": "x", "y": [1, 2.5e3, "\ud83d\ude00"]}}]"#));
    for end in 0..text.len() {
        let _ = read(&text.as_bytes()[..end]);
        for byte in [b'"', b'\\', b'{', b'[', b'0', 0xff] {
            let mut changed = text.clone().into_bytes();
            changed[end] = byte;
            let _ = read(&changed);
        }
    }
}
