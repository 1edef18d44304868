//! The canonical form of a chat model's prompt: what LangChain's `dumps` makes of a list of messages,
//! less what never reaches a provider. By path, never by the name of a key: a tool's argument may be
//! called `id`. The reasons, and what is kept on purpose, are in `docs/keys.md`.
#![forbid(unsafe_code)]

use super::Reason;
use super::cursor::{Cursor, Fail, contains, has_address};
use super::encoding::{extent, is_path, is_str, leaf, tag};
use super::json::{Json, Marks};

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
const DROPPED: &[(&str, Option<&str>)] = &[
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

/// How an object in a prompt counts, of which LangChain could write the `id` and the `repr` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objects {
    /// By its `repr`, where that is known to say everything.
    #[default]
    ByRepr,
    /// By its `id`: somebody has seen the object, and has put what it holds into the key.
    ById,
}

/// Appends the canonical form of `text` to `out`, and returns true; or returns false, with `out` as
/// it was, if it is not a list of messages: then it stands for itself.
///
/// # Errors
/// [`Reason::Address`], if an object's address stands in what is kept.
pub fn prompt(text: &[u8], objects: Objects, out: &mut Vec<u8>) -> Result<bool, Reason> {
    let start = out.len();
    let mut json = Json::new(Cursor::new(text));
    let shown = objects == Objects::ByRepr;
    match list(&mut json, out) {
        Ok(()) if shown && json.object == Some(Reason::Address) => Err(Reason::Address),
        Ok(()) => Ok(true),
        // Nearly a list of messages, as one with a class of the user's own: it stands for itself, but
        // an object in it must not hide behind that.
        Err(_) if shown && contains(text, b"\"not_implemented\"") && has_address(text) => {
            Err(Reason::Address)
        }
        Err(_) => {
            out.truncate(start);
            Ok(false)
        }
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
    /// Where each begins, where its value does, and where it ends.
    members: Vec<(usize, usize, usize)>,
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
    scratch.arguments.put(class, out)
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
        let (value, object) = (found.bytes.len(), json.object);
        let key = &found.bytes[start..value];
        if is_str(key, "content") && json.next_is(b'[') {
            blocks(json, &mut found.bytes)?;
        } else {
            let is_dropped = DROPPED.iter().any(|(name, of)| of.is_none() && is_str(key, name));
            json.value(&mut found.bytes)?;
            if is_dropped {
                // Whatever object that was, it is not part of the request.
                json.object = object;
            }
        }
        found.members.push((start, value, found.bytes.len()));
        if !json.eat(b',') {
            break;
        }
    }
    if json.eat(b'}') { Ok(()) } else { Err(Fail::Shape) }
}

impl Arguments {
    /// Appends what counts, in the order of the names.
    fn put(&mut self, class: &str, out: &mut Vec<u8>) -> Result<(), Fail> {
        let bytes = &self.bytes;
        let is_dropped = |key: &[u8]| {
            DROPPED.iter().any(|(name, of)| is_str(key, name) && of.is_none_or(|of| of == class))
        };
        self.members.retain(|&(start, value, _)| !is_dropped(&bytes[start..value]));
        self.members.sort_unstable_by_key(|&(start, value, _)| &bytes[start..value]);
        let mut names = self.members.windows(2);
        if names.any(|pair| bytes[pair[0].0..pair[0].1] == bytes[pair[1].0..pair[1].1]) {
            return Err(Fail::Shape);
        }
        out.push(tag::DICT);
        for &(start, _, end) in &self.members {
            out.extend_from_slice(&bytes[start..end]);
        }
        out.push(tag::END);
        Ok(())
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
            marks.see(&out[start..value], &out[value..]);
            if is_str(&out[start..value], "id") && is_made_up(&out[value..]) {
                out.truncate(start);
            }
            if !json.eat(b',') {
                break;
            }
        }
        if !json.eat(b'}') {
            return Err(Fail::Shape);
        }
    }
    json.note(&marks);
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
