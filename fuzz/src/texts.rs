//! Changes to texts of brackets and quotes that mostly leave these in pairs: JSON, and Python's `repr`.

use crate::dice::Dice;
use std::ops::Range;

/// What a leaf, or a piece of one, may be changed into: one in each line.
const PIECES: &str = include_str!("pieces.txt");

/// What a value may be put into.
const AROUND: &[(&str, &str)] = &[
    ("[", "]"),
    ("(", ",)"),
    ("(", ")"),
    ("{", "}"),
    ("frozenset({", "})"),
    ("{\"a\": ", "}"),
    ("{'a': ", "}"),
    ("{", ": 1}"),
    ("{\"repr\": ", "}"),
    ("[1, ", ", 1]"),
    ("\"", "\""),
    ("'", "'"),
    ("<class '", "'>"),
    ("[('p', ", ")]"),
];

/// A changed text, of any length.
#[must_use]
pub fn changed(text: &[u8], dice: &mut Dice) -> Vec<u8> {
    let spans = spans(text);
    let pieces: Vec<&str> = PIECES.lines().collect();
    let piece = dice.of(&pieces).copied().unwrap_or_default().as_bytes();
    let Some(at) = dice.of(&spans).cloned() else { return piece.to_vec() };
    let other = &text[dice.of(&spans).cloned().unwrap_or_default()];
    let (before, span, after) = (&text[..at.start], &text[at.clone()], &text[at.end..]);
    let parts: Vec<&[u8]> = match dice.roll(8) {
        0 => vec![before, other, after],
        1 | 2 => vec![before, piece, after],
        3 => vec![before, span, b", ", other, after],
        4 => vec![before, piece, b", ", span, after],
        5 => vec![before, piece, b": ", span, after],
        6 => vec![before, after.strip_prefix(b", ").unwrap_or(after)],
        _ => {
            let (open, close) = AROUND[dice.roll(AROUND.len())];
            let times = if dice.roll(8) == 0 { 1 << dice.roll(10) } else { 1 };
            let (open, close) = (open.repeat(times), close.repeat(times));
            return [before, open.as_bytes(), span, close.as_bytes(), after].concat();
        }
    };
    parts.concat()
}

/// Where the leaves and the containers of a text are.
#[must_use]
pub fn spans(text: &[u8]) -> Vec<Range<usize>> {
    let (mut spans, mut open, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'[' | b'(' | b'{' => open.push(start),
            b']' | b')' | b'}' => spans.extend(open.pop().map(|start| start..at)),
            b'"' | b'\'' => {
                while text.get(at).is_some_and(|&other| other != byte) {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(text.len());
                spans.push(start..at);
            }
            _ if byte.is_ascii_alphanumeric() => {
                while text.get(at).is_some_and(|other| !b"[](){}'\", :".contains(other)) {
                    at += 1;
                }
                spans.push(start..at);
            }
            _ => {}
        }
    }
    spans
}
