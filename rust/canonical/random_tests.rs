//! Random settings, printed in the ways Python may print them, against a normal form that is too
//! simple to be wrong.

use super::golden_tests::GOLDEN;
use super::{Form, llm_string};
use std::collections::HashMap;
use std::fmt::Write;

/// xorshift64*: enough for a test, and the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % sides
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tree {
    /// A leaf of which there is only one print.
    Word(&'static str),
    Text(Vec<char>),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Tuple(Vec<Tree>),
    Dict(Vec<(Tree, Tree)>),
    Set(Vec<Tree>),
    Frozen(Vec<Tree>),
}

const WORDS: [&str; 14] = [
    "None",
    "True",
    "False",
    "0",
    "1",
    "-1",
    "1.0",
    "1e-05",
    "nan",
    "-inf",
    "<class 'a'>",
    "<class 'b.<locals>.c'>",
    "SecretStr('**********')",
    "36893488147419103232",
];
/// Few, and such as look like syntax: that is where sloppy encodings fail.
const CHARACTERS: [char; 12] =
    ['a', '\'', '"', '\\', '\n', '\0', '\u{7}', ',', '[', 'é', '\u{85}', '😀'];

fn leaf(dice: &mut Dice) -> Tree {
    match dice.roll(4) {
        0 | 1 => Tree::Word(WORDS[dice.roll(WORDS.len())]),
        2 => Tree::Text((0..dice.roll(4)).map(|_| CHARACTERS[dice.roll(12)]).collect()),
        _ => Tree::Bytes((0..dice.roll(3)).map(|_| b"a'\\\x00\xFF\x07"[dice.roll(6)]).collect()),
    }
}

fn tree(dice: &mut Dice, depth: usize) -> Tree {
    if depth == 0 {
        return leaf(dice);
    }
    let members = |dice: &mut Dice| -> Vec<Tree> {
        (0..dice.roll(4)).map(|_| tree(dice, depth - 1)).collect()
    };
    match dice.roll(8) {
        0 | 1 => Tree::List(members(dice)),
        2 => Tree::Tuple(members(dice)),
        3 | 4 => Tree::Dict(members(dice).into_iter().map(|value| (leaf(dice), value)).collect()),
        5 => Tree::Set(members(dice)),
        6 => Tree::Frozen(members(dice)),
        _ => leaf(dice),
    }
}

impl Tree {
    /// The same tree with the members of its sets in order.
    fn normal(&self) -> Self {
        let all = |members: &[Self]| members.iter().map(Self::normal).collect::<Vec<_>>();
        let sorted = |members: &[Self]| {
            let mut members = all(members);
            members.sort();
            members
        };
        match self {
            Self::List(members) => Self::List(all(members)),
            Self::Tuple(members) => Self::Tuple(all(members)),
            Self::Dict(members) => Self::Dict(
                members.iter().map(|(key, value)| (key.normal(), value.normal())).collect(),
            ),
            Self::Set(members) => Self::Set(sorted(members)),
            Self::Frozen(members) => Self::Frozen(sorted(members)),
            other => other.clone(),
        }
    }

    /// One of the ways in which Python may print this: any quotes, any escapes, any order of sets.
    fn print(&self, dice: &mut Dice, out: &mut String) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Text(characters) => {
                let quote = ['\'', '"'][dice.roll(2)];
                out.push(quote);
                for &character in characters {
                    print_character(character, quote, dice, out);
                }
                out.push(quote);
            }
            Self::Bytes(bytes) => {
                out.push_str("b'");
                for &byte in bytes {
                    match byte {
                        b'a' if dice.roll(2) == 0 => out.push('a'),
                        b'\'' => out.push_str("\\'"),
                        b'\\' => out.push_str("\\\\"),
                        _ => write!(out, "\\x{byte:02x}").expect("grows"),
                    }
                }
                out.push('\'');
            }
            Self::List(members) => print_all(members, ["[", "]"], dice, out),
            Self::Tuple(members) if members.len() == 1 => {
                print_all(members, ["(", ",)"], dice, out);
            }
            Self::Tuple(members) => print_all(members, ["(", ")"], dice, out),
            Self::Dict(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    key.print(dice, out);
                    out.push_str(": ");
                    value.print(dice, out);
                }
                out.push('}');
            }
            Self::Set(members) if members.is_empty() => out.push_str("set()"),
            Self::Frozen(members) if members.is_empty() => out.push_str("frozenset()"),
            Self::Set(members) => print_all(&shuffled(members, dice), ["{", "}"], dice, out),
            Self::Frozen(members) => {
                print_all(&shuffled(members, dice), ["frozenset({", "})"], dice, out);
            }
        }
    }
}

fn print_character(character: char, quote: char, dice: &mut Dice, out: &mut String) {
    let code = u32::from(character);
    match character {
        '\\' => out.push_str("\\\\"),
        '\n' if dice.roll(2) == 0 => out.push_str("\\n"),
        _ if character == quote => out.extend(['\\', quote]),
        _ if code < 0x100 && (code < 0x20 || dice.roll(4) == 0) => {
            write!(out, "\\x{code:02x}").expect("grows");
        }
        _ if dice.roll(4) == 0 => write!(out, "\\U{code:08x}").expect("grows"),
        _ => out.push(character),
    }
}

fn print_all(members: &[Tree], around: [&str; 2], dice: &mut Dice, out: &mut String) {
    out.push_str(around[0]);
    for (at, member) in members.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        member.print(dice, out);
    }
    out.push_str(around[1]);
}

fn shuffled(members: &[Tree], dice: &mut Dice) -> Vec<Tree> {
    let mut members = members.to_vec();
    for at in (1..members.len()).rev() {
        members.swap(at, dice.roll(at + 1));
    }
    members
}

fn bytes(text: &str) -> Vec<u8> {
    match llm_string(text.as_bytes()) {
        Ok(Form::Params(whole)) => whole.bytes,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn equal_settings_and_only_they_have_equal_bytes() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut owners: HashMap<Vec<u8>, Vec<(char, Tree)>> = HashMap::new();
    let mut repeats = 0;
    for _ in 0..60_000 {
        let settings: Vec<(char, Tree)> = (0..=dice.roll(2))
            .map(|_| {
                let depth = dice.roll(4);
                (['p', 'q'][dice.roll(2)], tree(&mut dice, depth))
            })
            .collect();
        let print = |dice: &mut Dice| {
            let mut text = "[".to_owned();
            for (at, (name, value)) in settings.iter().enumerate() {
                text.push_str(if at == 0 { "(" } else { ", (" });
                text.extend(['\'', *name, '\'', ',', ' ']);
                value.print(dice, &mut text);
                text.push(')');
            }
            text + "]"
        };
        let encoded = bytes(&print(&mut dice));
        let again = print(&mut dice);
        assert_eq!(encoded, bytes(&again), "{again}");
        let normal: Vec<_> = settings.iter().map(|(name, value)| (*name, value.normal())).collect();
        match owners.get(&encoded) {
            None => drop(owners.insert(encoded, normal)),
            Some(owner) => {
                assert_eq!(*owner, normal, "{again} shares its bytes");
                repeats += 1;
            }
        }
    }
    assert!(repeats > 1_000, "the test meets too few equals to mean much: {repeats}");
}

#[test]
fn no_mutation_of_a_real_string_panics() {
    const SYNTAX: &[u8] = b"[](){}<>'\"\\,: -.0x1eubn\xFF\xED\xA0\x80\0";
    let mut dice = Dice(42);
    let mut kinds = [0; 3];
    for turn in 0..60_000 {
        let mut text = GOLDEN[turn % GOLDEN.len()].as_bytes().to_vec();
        for _ in 0..=dice.roll(3) {
            let (at, other) = (dice.roll(text.len().max(1)), dice.roll(text.len().max(1)));
            match dice.roll(5) {
                _ if text.len() < 2 => {}
                0 => text[at] = SYNTAX[dice.roll(SYNTAX.len())],
                1 => text.insert(at, SYNTAX[dice.roll(SYNTAX.len())]),
                2 => drop(text.remove(at)),
                3 => text.truncate(at.max(1)),
                _ => text.swap(at, other),
            }
        }
        match llm_string(&text) {
            Ok(Form::Params(whole)) => {
                kinds[0] += 1;
                for part in whole.parts {
                    assert!(!whole.bytes[part.value].is_empty());
                }
            }
            Ok(Form::Opaque) => kinds[1] += 1,
            Err(_) => kinds[2] += 1,
        }
    }
    assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
}
