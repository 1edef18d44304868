//! What must hold of any text, as a prompt and as an `llm_string`. The fuzzer checks it, and so does
//! `cargo test`, of texts that the fuzzer has found.

use super::form::Value;
use llmemo::canonical::{Canonical, Form, Objects, Place, Reason, llm_string, prompt};

/// Checks one text.
///
/// # Panics
/// If something does not hold.
pub fn check(text: &[u8]) {
    for objects in [Objects::ByRepr, Objects::ById] {
        let form = form_of(text, objects);
        assert_eq!(form, form_of(text, objects), "the same text, another form");
        if let Ok(Some(form)) = form {
            check_messages(text, &form, objects);
        }
    }
    let settings = llm_string(text);
    assert_eq!(settings, llm_string(text), "the same text, other settings");
    if let Ok(Form::Params(settings)) = settings {
        check_settings(text, &settings);
    }
}

/// What `prompt` says of a text.
fn form_of(text: &[u8], objects: Objects) -> Result<Option<Vec<u8>>, Reason> {
    const BEFORE: &[u8] = b"what was there before";
    let mut out = BEFORE.to_vec();
    let is_form = prompt(text, objects, &mut out)?;
    let form = out.strip_prefix(BEFORE).expect("is kept");
    assert!(is_form || form.is_empty());
    assert!(form.len() <= 2 * text.len() + 64, "{} bytes", form.len());
    Ok(is_form.then(|| form.to_vec()))
}

fn check_messages(text: &[u8], form: &[u8], objects: Objects) {
    assert_eq!(form_of(&spaced(text), objects), Ok(Some(form.to_vec())), "white space counts");
    let mut rest = form;
    let list = Value::take(&mut rest);
    assert!(rest.is_empty());
    let mut written = Vec::new();
    for message in list.items().chunks(2) {
        let [class, arguments] = message else { panic!("a message without arguments") };
        written.extend(if written.is_empty() { b"[" } else { b"," });
        written.extend(br#"{"lc":1,"type":"constructor","id":["langchain","schema","messages","#);
        class.json(&mut written);
        written.extend(br#"],"kwargs":"#);
        arguments.json(&mut written);
        written.push(b'}');
    }
    written.push(b']');
    assert_eq!(form_of(&written, objects), Ok(Some(form.to_vec())), "{}", written.escape_ascii());
}

fn check_settings(text: &[u8], settings: &Canonical) {
    let same = |other: &[u8], what: &str| match llm_string(other) {
        Ok(Form::Params(found)) => {
            assert_eq!(found.bytes, settings.bytes, "{what}: {}", other.escape_ascii());
        }
        other => panic!("{what}: {other:?}"),
    };
    assert!(settings.bytes.len() <= 2 * text.len() + 64, "{} bytes", settings.bytes.len());
    let head = head_len(text);
    same(&[&spaced(&text[..head]), &text[head..]].concat(), "white space counts");

    let mut rest = &settings.bytes[..];
    let mut places: [Vec<(&[u8], Value)>; 3] = [vec![], vec![], vec![]];
    let (mut classes, mut mentions) = (Vec::new(), Vec::new());
    for (at, part) in settings.parts.iter().enumerate() {
        let (place, after) = rest.split_first().expect("there is a part");
        assert_eq!(*place, part.place as u8);
        rest = after;
        let name = Value::take(&mut rest).text();
        let whole = rest;
        let value = Value::take(&mut rest);
        let bytes = &whole[..whole.len() - rest.len()];
        assert_eq!(&settings.bytes[part.value.clone()], bytes);
        let mut names = Vec::new();
        value.classes(&mut names);
        classes.extend(names.into_iter().map(|name| (at, String::from_utf8_lossy(name))));
        places[part.place as usize - 1].push((name, value));
    }
    assert!(rest.is_empty());
    classes.sort_unstable();
    mentions.extend(settings.classes.iter().map(|class| (class.part, class.name.as_str().into())));
    mentions.sort_unstable();
    assert_eq!(classes, mentions);

    let [envelope, arguments, parameters] = &places;
    let mut written = Vec::new();
    if head > 0 {
        written.extend(b"{");
        members(envelope, &mut written);
        written.extend(br#","kwargs":{"#);
        members(arguments, &mut written);
        written.extend(b"}}---");
    } else {
        let is_call = |part: &llmemo::canonical::Part| part.place == Place::Call;
        assert!(settings.parts.iter().all(is_call));
    }
    written.push(b'[');
    for (at, (name, value)) in parameters.iter().enumerate() {
        written.extend(if at == 0 { &b"("[..] } else { b", (" });
        Value::of_text(name).repr(&mut written);
        written.extend(b", ");
        value.repr(&mut written);
        written.push(b')');
    }
    written.push(b']');
    same(&written, "written anew");
}

fn members(settings: &[(&[u8], Value)], out: &mut Vec<u8>) {
    for (at, (name, value)) in settings.iter().enumerate() {
        out.extend(if at == 0 { &b""[..] } else { b"," });
        Value::of_text(name).json(out);
        out.push(b':');
        value.json(out);
    }
}

/// The same JSON, with white space around all punctuation.
fn spaced(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * json.len());
    let mut quoted = Quoted::default();
    for &byte in json {
        match byte {
            _ if quoted.holds(byte) => out.push(byte),
            b'[' | b']' | b'{' | b'}' | b',' | b':' => {
                out.extend([b'\r', b' ', byte, b'\t', b'\n']);
            }
            _ => out.push(byte),
        }
    }
    out.trim_ascii().to_vec()
}

/// How long the head of an `llm_string` is.
fn head_len(text: &[u8]) -> usize {
    let (mut depth, mut quoted) = (0_usize, Quoted::default());
    let ends = |&byte: &u8| {
        match byte {
            _ if quoted.holds(byte) => {}
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    };
    match text.iter().position(ends) {
        Some(end) if text.starts_with(b"{") => end + 1,
        _ => 0,
    }
}

/// Tells what is in a string of JSON, byte by byte.
#[derive(Default)]
struct Quoted {
    is_open: bool,
    is_escape: bool,
}

impl Quoted {
    /// Whether the next byte is part of a string, its quotes among it.
    fn holds(&mut self, byte: u8) -> bool {
        let was_open = self.is_open;
        if self.is_escape {
            self.is_escape = false;
        } else if byte == b'"' {
            self.is_open = !was_open;
        } else {
            self.is_escape = was_open && byte == b'\\';
        }
        was_open || self.is_open
    }
}
