//! The canonical form of a chat model's prompt: what LangChain's `dumps` makes of a list of messages,
//! less what never reaches a provider. By path, never by the name of a key: a tool's argument may be
//! called `id`. The reasons, and what is kept on purpose, are in `docs/keys.md`.
#![forbid(unsafe_code)]

use super::bypass::Reason;
use super::cursor::{Cursor, Fail};
use super::encoding::{extent, is_path, is_str, leaf, tag};
use super::hidden::hidden;
use super::hit_marks::unmark;
use super::json::Json;
use super::objects::{Marks, Objects, worse};
use std::ops::Range;

/// Message classes, and the whole message that a chunk is taken for.
const CLASSES: &[(&str, &str)] = &[
    ("AIMessage", "AIMessage"),
    ("AIMessageChunk", "AIMessage"),
    ("HumanMessage", "HumanMessage"),
    ("HumanMessageChunk", "HumanMessage"),
    ("SystemMessage", "SystemMessage"),
    ("SystemMessageChunk", "SystemMessage"),
    ("ToolMessage", "ToolMessage"),
    ("ToolMessageChunk", "ToolMessage"),
    ("FunctionMessage", "FunctionMessage"),
    ("FunctionMessageChunk", "FunctionMessage"),
    ("ChatMessage", "ChatMessage"),
    ("ChatMessageChunk", "ChatMessage"),
    ("RemoveMessage", "RemoveMessage"),
];

/// Arguments of a message that no provider is sent, with the class they are dropped from (or all).
const UNSENT: &[(&str, Option<&str>)] = &[
    // A new one for each hit and each run; LangChain nulls the outermost itself.
    ("id", None),
    // Decided by the class, and another one for a chunk.
    ("type", None),
    // What an earlier answer cost. LangChain writes `total_cost` into it on a hit, so that keeping
    // it would make the next turn of a conversation miss.
    ("usage_metadata", None),
    // For the application, not the model; its `repr` may differ between processes.
    ("artifact", None),
    // How a chunk was put together; `tool_calls` has what came of it.
    ("tool_call_chunks", Some("AIMessageChunk")),
    ("chunk_position", Some("AIMessageChunk")),
];

/// Appends the canonical form of `text` to `out`, and returns true; or returns false, with `out` as
/// it was, if it is not a list of messages: then it stands for itself.
///
/// # Errors
/// The reason to bypass, if an object stands in what is kept whose `repr` need not say everything.
pub fn prompt(text: &[u8], objects: Objects, out: &mut Vec<u8>) -> Result<bool, Reason> {
    let start = out.len();
    let mut json = Json::new(Cursor::new(text), objects);
    if list(&mut json, out).is_ok() {
        return json.object.map_or(Ok(true), Err);
    }
    out.truncate(start);
    match objects {
        Objects::ByRepr => hidden(text).map_or(Ok(false), Err),
        Objects::ById => Ok(false),
    }
}

fn list(json: &mut Json, out: &mut Vec<u8>) -> Result<(), Fail> {
    if !json.eat(b'[') {
        return Err(Fail::Shape);
    }
    out.push(tag::LIST);
    let mut scratch = Scratch::default();
    loop {
        message(json, &mut scratch, out)?;
        if !json.eat(b',') {
            break;
        }
    }
    if !json.eat(b']') {
        return Err(Fail::Shape);
    }
    out.push(tag::END);
    json.space();
    if json.cursor.is_done() { Ok(()) } else { Err(Fail::Shape) }
}

/// The messages of a canonical form, one by one, as [`prompt`] has written them.
pub fn messages(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = form.strip_prefix(&[tag::LIST]).unwrap_or_default();
    std::iter::from_fn(move || {
        // The name of the class, and the arguments.
        let class = extent(rest);
        let end = class + extent(rest.get(class..)?);
        (end > class + 1).then(|| rest.split_off(..end)).flatten()
    })
}

/// Buffers that all messages of a prompt share.
#[derive(Default)]
struct Scratch {
    value: Vec<u8>,
    class: Vec<u8>,
    arguments: Arguments,
}

/// The arguments of a message: encoded, one after the other.
#[derive(Default)]
struct Arguments {
    bytes: Vec<u8>,
    members: Vec<Member>,
}

struct Member {
    /// Where its name is.
    name: Range<usize>,
    /// Where its value ends, which follows at once. It has none if it does not count.
    end: usize,
    /// Why an object in it has no form.
    object: Option<Reason>,
}

/// `{"lc": 1, "type": "constructor", "id": […, "AIMessage"], "kwargs": {…}}`, in any order.
fn message(json: &mut Json, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), Fail> {
    if !json.eat(b'{') {
        return Err(Fail::Shape);
    }
    let mut seen = [false; 4];
    loop {
        let member = match json.name()? {
            b"lc" => 0,
            b"type" => 1,
            b"id" => 2,
            b"kwargs" => 3,
            _ => return Err(Fail::Shape),
        };
        if std::mem::replace(&mut seen[member], true) {
            return Err(Fail::Shape);
        }
        scratch.value.clear();
        match member {
            2 => {
                scratch.class.clear();
                json.value(&mut scratch.class)?;
            }
            3 => arguments(json, &mut scratch.arguments)?,
            _ => json.value(&mut scratch.value)?,
        }
        let is_right = match member {
            0 => scratch.value == [tag::NUMBER, 1, b'1'],
            1 => is_str(&scratch.value, "constructor"),
            _ => true,
        };
        if !is_right {
            return Err(Fail::Shape);
        }
        if !json.eat(b',') {
            break;
        }
    }
    if !json.eat(b'}') || seen.contains(&false) {
        return Err(Fail::Shape);
    }
    let is_it = |name: &str| is_path(&scratch.class, &["langchain", "schema", "messages", name]);
    let (class, whole) = CLASSES.iter().find(|(name, _)| is_it(name)).ok_or(Fail::Shape)?;
    leaf(out, tag::STR, whole.as_bytes());
    json.object = worse(json.object, scratch.arguments.put(class, out)?);
    Ok(())
}

fn arguments(json: &mut Json, found: &mut Arguments) -> Result<(), Fail> {
    found.bytes.clear();
    found.members.clear();
    if !json.eat(b'{') {
        return Err(Fail::Shape);
    }
    if json.eat(b'}') {
        return Ok(());
    }
    loop {
        let start = found.bytes.len();
        leaf(&mut found.bytes, tag::STR, json.name()?);
        let name = start..found.bytes.len();
        let before = json.object.take();
        if is_str(&found.bytes[name.clone()], "content") && json.next_is(b'[') {
            blocks(json, &mut found.bytes)?;
        } else {
            json.value(&mut found.bytes)?;
            if is_str(&found.bytes[name.clone()], "response_metadata") {
                unmark(&mut found.bytes, name.end);
            }
        }
        let object = std::mem::replace(&mut json.object, before);
        found.members.push(Member { name, end: found.bytes.len(), object });
        if !json.eat(b',') {
            break;
        }
    }
    if json.eat(b'}') { Ok(()) } else { Err(Fail::Shape) }
}

impl Arguments {
    /// Appends what counts, in the order of the names. Returns why an object in it has no form.
    fn put(&mut self, class: &str, out: &mut Vec<u8>) -> Result<Option<Reason>, Fail> {
        let bytes = &self.bytes;
        let is_dropped = |key: &[u8]| {
            UNSENT.iter().any(|(name, of)| is_str(key, name) && of.is_none_or(|of| of == class))
        };
        let name = |member: &Member| &bytes[member.name.clone()];
        self.members.retain(|member| !is_dropped(name(member)));
        self.members.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        if self.members.windows(2).any(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(Fail::Shape);
        }
        out.push(tag::DICT);
        let mut object = None;
        for member in self.members.iter().filter(|it| it.end > it.name.end) {
            out.extend_from_slice(&bytes[member.name.start..member.end]);
            object = worse(object, member.object);
        }
        out.push(tag::END);
        Ok(object)
    }
}

/// Content blocks: everything counts, in its order, but for the ids that LangChain makes up.
fn blocks(json: &mut Json, out: &mut Vec<u8>) -> Result<(), Fail> {
    json.eat(b'[');
    out.push(tag::LIST);
    if !json.eat(b']') {
        loop {
            if json.next_is(b'{') {
                block(json, out)?;
            } else {
                json.value(out)?;
            }
            if !json.eat(b',') {
                break;
            }
        }
        if !json.eat(b']') {
            return Err(Fail::Shape);
        }
    }
    out.push(tag::END);
    Ok(())
}

fn block(json: &mut Json, out: &mut Vec<u8>) -> Result<(), Fail> {
    json.eat(b'{');
    out.push(tag::DICT);
    let mut marks = Marks::default();
    if !json.eat(b'}') {
        loop {
            let start = out.len();
            leaf(out, tag::STR, json.name()?);
            let value = out.len();
            json.value(out)?;
            if is_str(&out[start..value], "id") && is_made_up(&out[value..]) {
                out.truncate(start);
            } else {
                marks.see(out, start, value);
            }
            if !json.eat(b',') {
                break;
            }
        }
        if !json.eat(b'}') {
            return Err(Fail::Shape);
        }
    }
    json.settle(&marks, out);
    out.push(tag::END);
    Ok(())
}

/// Whether an encoded value is `lc_` and a UUID: `ensure_id` in `langchain_core.utils.utils`.
fn is_made_up(value: &[u8]) -> bool {
    let Some(uuid) = value.strip_prefix(&[tag::STR, 39]).and_then(|id| id.strip_prefix(b"lc_"))
    else {
        return false;
    };
    uuid.len() == 36
        && uuid.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
