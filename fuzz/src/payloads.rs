//! Changes to payloads, token by token: what comes of it is mostly a tree again.

use crate::checks::value::KEY;
use crate::dice::Dice;
use llmemo::codec::{Reader, Token, Writer, payload};

/// A changed payload, of any length.
///
/// # Panics
/// If it passes 4 GiB.
#[must_use]
pub fn changed(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut tokens = Vec::new();
    while let Ok(token) = reader.next() {
        tokens.push(token);
    }
    let at = dice.roll(tokens.len() + 1);
    let end = end_of(&tokens, at);
    let from = dice.roll(tokens.len() + 1);
    let other: Vec<Token> = tokens[from..end_of(&tokens, from)].to_vec();
    match dice.roll(8) {
        0 | 1 => drop(tokens.splice(at..end, other)),
        2 | 3 => drop(tokens.splice(at..end, [piece(dice)])),
        4 => tokens.insert(at, piece(dice)),
        5 => {
            if let Some(token) = tokens.get_mut(at) {
                *token = recounted(*token, dice);
                let first = at + 1;
                tokens.splice(first..first, other);
            }
        }
        6 => drop(tokens.drain(at..end)),
        _ => {
            let levels = if dice.roll(8) == 0 { 1 << dice.roll(9) } else { 1 };
            tokens.splice(at..at, vec![Token::List(1); levels]);
        }
    }
    let mut writer = Writer::new();
    for token in tokens {
        writer.put(token);
    }
    payload(&writer.seal(&KEY).expect("small")).to_vec()
}

/// Where the tree ends that begins at `at`.
fn end_of(tokens: &[Token], at: usize) -> usize {
    let (mut end, mut pending) = (at, 1);
    while let (Some(token), 1..) = (tokens.get(end), pending) {
        pending = pending - 1
            + match *token {
                Token::List(len) | Token::Tuple(len) => len,
                Token::Dict(len) => 2 * len,
                // After its fields: which were set, what is extra, and a list.
                Token::Object(_, len) => 2 * len + 3,
                Token::Text => 1,
                _ => 0,
            };
        end += 1;
    }
    end
}

/// A container of one member more or less.
fn recounted<'a>(token: Token<'a>, dice: &mut Dice) -> Token<'a> {
    let mut other = |len: usize| if dice.roll(4) == 0 { len.saturating_sub(1) } else { len + 1 };
    match token {
        Token::List(len) => Token::List(other(len)),
        Token::Tuple(len) => Token::Tuple(other(len)),
        Token::Dict(len) => Token::Dict(other(len)),
        Token::Object(class, len) => Token::Object(class, other(len)),
        token => token,
    }
}

fn piece(dice: &mut Dice) -> Token<'static> {
    const BYTES: [&[u8]; 6] =
        [b"", b"x", b"\xff", b"\xed\xa0\x80", b"content", b"\0\0\0\0\0\0\0\0\x01"];
    let bytes = BYTES[dice.roll(BYTES.len())];
    let (number, few) = (dice.roll(0x80).to_le_bytes()[0], dice.roll(4));
    match dice.roll(15) {
        0 => Token::None,
        1 => Token::Bool(few > 1),
        2 => Token::Int([0, -1, i64::MIN, i64::from(number)][few]),
        3 => Token::BigInt(bytes),
        4 => Token::Float([0.5, -0.0, f64::NAN, f64::INFINITY][few]),
        5 => Token::Str(bytes),
        6 => Token::StrSurrogates(bytes),
        7 => Token::Bytes(bytes),
        8 => Token::List(few),
        9 => Token::Tuple(few),
        10 => Token::Dict(few),
        11 => Token::Object(number % 32, few),
        12 => Token::Text,
        13 => Token::SameText,
        _ => Token::Word(number),
    }
}
