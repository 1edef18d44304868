//! The question of a prompt: the text of its last message, if a human wrote it.
#![forbid(unsafe_code)]

use super::encoding::{extent, is_str, members, tag, text_of};
use super::prompt::messages;
use std::ops::Range;

/// Takes the question out of the canonical form of a list of messages, and returns it.
///
/// A list of text blocks is one question, joined by line feeds. The form keeps everything else:
/// the other arguments of the message, whether its content was a list, and of how many blocks.
///
/// `None`, with the form as it was, if the last message is not a human's, or its content is not
/// plain text: another kind of block, an empty text, a lone surrogate.
pub fn take_question(form: &mut Vec<u8>) -> Option<String> {
    let place = content(form)?;
    let content = &form[place.clone()];
    let (texts, rest) = match *content.first()? {
        tag::STR => (vec![text_of(content)?], vec![tag::NONE]),
        tag::LIST => {
            let texts = members(content).map(block).collect::<Option<Vec<_>>>()?;
            // None stands for each text. So no list counts as another, and none as a text.
            let rest = [&[tag::LIST], &*vec![tag::NONE; texts.len()], &[tag::END]].concat();
            (texts, rest)
        }
        _ => return None,
    };
    if texts.is_empty() || texts.iter().any(|text| text.is_empty()) {
        return None;
    }
    // Fails for a lone surrogate, which is no UTF-8.
    let question = String::from_utf8(texts.join(&b"\n"[..])).ok()?;
    form.splice(place, rest);
    Some(question)
}

/// Where the content of the last message is, if that is a human's.
fn content(form: &[u8]) -> Option<Range<usize>> {
    let last = messages(form).last()?;
    let (class, arguments) = last.split_at(extent(last));
    if !is_str(class, "HumanMessage") {
        return None;
    }
    // The arguments begin with a tag and end with another, and so does the list of messages.
    let mut end = form.len() - 1 - arguments.len() + 1;
    let mut arguments = members(arguments);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let start = end + name.len();
        end = start + value.len();
        if is_str(name, "content") {
            return Some(start..end);
        }
    }
    None
}

/// The text of a block that is nothing but a text, in either order of its two members.
fn block(block: &[u8]) -> Option<&[u8]> {
    block.strip_prefix(&[tag::DICT])?;
    let mut members = members(block);
    let (mut is_text, mut text) = (false, None);
    for _ in 0..2 {
        let (name, value) = (members.next()?, members.next()?);
        if is_str(name, "type") {
            is_text = is_str(value, "text");
        } else if is_str(name, "text") {
            text = text_of(value);
        }
    }
    text.filter(|_| is_text && members.next().is_none())
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
