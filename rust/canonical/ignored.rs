//! Settings that a user has told not to count, by their names: `LLMCache(ignore=…)`.
//!
//! A name is that of a setting, or leads into its value: `default_headers.x-request-id`. What it names
//! is taken out of a canonical form, wherever it stands. A dict that has nothing left goes, too.
//! `docs/keys.md` has the rules.
#![forbid(unsafe_code)]

use super::description::{Container, Description, entries};
use super::encoding::{extent, members, tag, text_of};

/// Place and name of the entry that says what is ignored.
const ENTRY: (u8, &[u8]) = (10, b"ignored settings");

/// The place of the entries of a model's clients.
const CLIENT: u8 = 5;

/// The places of settings: fields, parameters of a call.
const SETTINGS: [u8; 2] = [4, 6];

/// Settings whose members the client sends as if they were settings of their own.
const PASSED_ON: [&[u8]; 2] = [b"model_kwargs", b"extra_body"];

/// How many of them may be inside each other.
const PASSED_ON_MAX: u8 = 2;

const HEADERS: &[u8] = b"headers";

/// The settings that a client's headers come from. Those of a tool, say, are others.
const HEADERS_FROM: &str = "default_headers extra_headers model_kwargs.extra_headers \
    additional_headers client_kwargs.headers sync_client_kwargs.headers async_client_kwargs.headers";

/// The settings that the parameters of a client's URLs come from.
const QUERY_FROM: &str = "default_query extra_query model_kwargs.extra_query";

/// The names of settings that do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    names: Vec<Box<[u8]>>,
}

/// What becomes of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it counts.
    Whole,
    /// Nothing of it counts.
    Nothing,
    /// This much of it counts.
    Part(Vec<u8>),
}

/// What is still to be found of a name, inside some value.
#[derive(Clone, Copy)]
struct Rest<'a> {
    name: &'a [u8],
    /// The value holds headers, whose names have no case.
    in_headers: bool,
}

impl<'a> Rest<'a> {
    /// What is to be found inside the member of this name; nothing, if that is it. `None` if the name
    /// does not lead there.
    fn inside(self, member: &[u8]) -> Option<Rest<'a>> {
        let (head, rest) = self.name.split_at_checked(member.len())?;
        let is_it =
            if self.in_headers { head.eq_ignore_ascii_case(member) } else { head == member };
        let name = match rest {
            _ if !is_it => return None,
            [] => rest,
            [b'.', name @ ..] => name,
            _ => return None,
        };
        Some(Rest { name, in_headers: is_of_headers(member) })
    }
}

/// Whether a setting of this name holds headers: `default_headers`, `extra_headers`.
fn is_of_headers(name: &[u8]) -> bool {
    let start = name.len().saturating_sub(HEADERS.len());
    name[start..].eq_ignore_ascii_case(HEADERS)
}

impl Ignored {
    /// By their names, each once and in a fixed order: both are part of the keys.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { names: names.into_iter().map(Vec::into_boxed_slice).collect() }
    }

    /// Whether every setting counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether nothing of a setting counts, whatever its value.
    pub(super) fn has(&self, setting: &[u8]) -> bool {
        self.names.iter().any(|name| **name == *setting)
    }

    /// What counts of a setting.
    pub(super) fn keep(&self, setting: &[u8], value: &[u8]) -> Kept {
        if self.is_empty() { Kept::Whole } else { self.member(setting, value, &self.all(), 0) }
    }

    /// What counts of a description, such as a supplement; and an entry that says what does not. So a
    /// cache never serves what another one has kept that ignores more than it does.
    #[must_use]
    pub fn keep_description(&self, description: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(description.len());
        let mut read = 0;
        for entry in entries(description) {
            let (whole, after_place) = (entry.whole, &entry.whole[1..]);
            let (name, value) = whole.split_at(1 + extent(after_place));
            read += whole.len();
            match entry.place {
                CLIENT => out.extend([name, &self.client(value)].concat()),
                place if SETTINGS.contains(&place) => match self.keep(entry.name, value) {
                    Kept::Whole => out.extend_from_slice(whole),
                    Kept::Part(left) => out.extend([name, &left].concat()),
                    Kept::Nothing => {}
                },
                _ => out.extend_from_slice(whole),
            }
        }
        // What is no description stands for itself.
        out.extend_from_slice(&description[read..]);
        let mut told = Description::default();
        told.entry(ENTRY.0, ENTRY.1);
        told.open(Container::List);
        self.names.iter().for_each(|name| told.text(name));
        told.close();
        out.extend(told.finish());
        out
    }

    fn all(&self) -> Vec<Rest<'_>> {
        self.names.iter().map(|name| Rest { name, in_headers: false }).collect()
    }

    /// What counts of a member, or of a setting. `passed_on`: how many dicts are around it, if the
    /// client passes on each of them.
    fn member<'a>(&'a self, name: &[u8], value: &[u8], names: &[Rest<'a>], passed_on: u8) -> Kept {
        let mut inside: Vec<_> = names.iter().filter_map(|rest| rest.inside(name)).collect();
        if inside.iter().any(|rest| rest.name.is_empty()) {
            return Kept::Nothing;
        }
        let is_passed_on = passed_on < PASSED_ON_MAX && PASSED_ON.contains(&name);
        if is_passed_on {
            inside.extend(self.all());
        }
        let passed_on = if is_passed_on { passed_on + 1 } else { PASSED_ON_MAX };
        if inside.is_empty() { Kept::Whole } else { self.dict(value, &inside, passed_on) }
    }

    /// What counts of a value into which names lead: all of it, if it is no dict and no list of pairs.
    fn dict<'a>(&'a self, value: &[u8], names: &[Rest<'a>], passed_on: u8) -> Kept {
        let Some(items) = items_of(value) else { return Kept::Whole };
        let mut left = vec![value[0]];
        let mut is_whole = !items.is_empty();
        for Item { pair, key, value } in items {
            let kept =
                text_of(key).map_or(Kept::Whole, |name| self.member(name, value, names, passed_on));
            is_whole &= kept == Kept::Whole;
            let value = match &kept {
                Kept::Whole => value,
                Kept::Part(part) => part,
                Kept::Nothing => continue,
            };
            let end = pair.map(|_| tag::END);
            left.extend(pair.into_iter().chain([key, value].concat()).chain(end));
        }
        match left.len() {
            _ if is_whole => Kept::Whole,
            1 => Kept::Nothing,
            _ => {
                left.push(tag::END);
                Kept::Part(left)
            }
        }
    }

    /// What counts of what a client says: its kind, then label, value, label, value.
    fn client(&self, told: &[u8]) -> Vec<u8> {
        let mut parts = members(told);
        let (Some(&tag::KIND), Some(kind)) = (told.first(), parts.next()) else {
            return told.to_vec();
        };
        let Some(parts) = pairs(parts) else { return told.to_vec() };
        let mut left = [&[tag::KIND], kind].concat();
        for (label, value) in parts {
            left.extend_from_slice(label);
            let kept = match text_of(label) {
                Some(b"client") => Kept::Part(self.client(value)),
                Some(b"body") => self.dict(value, &self.all(), PASSED_ON_MAX),
                Some(HEADERS) => self.items(value, tag::LIST, HEADERS_FROM),
                Some(b"query") => self.items(value, tag::DICT, QUERY_FROM),
                _ => Kept::Whole,
            };
            match kept {
                Kept::Whole => left.extend_from_slice(value),
                Kept::Part(part) => left.extend(part),
                Kept::Nothing => left.extend([tag::DICT, tag::END]),
            }
        }
        left.push(tag::END);
        left
    }

    /// What counts of a client's headers, or of the parameters of its URLs. `from`: the settings
    /// that they come from, of which the names have to begin with one.
    fn items(&self, value: &[u8], container: u8, from: &str) -> Kept {
        let Some(items) = pairs_of(value, container) else { return Kept::Whole };
        let ignored: Vec<&[u8]> = self.names.iter().filter_map(|name| inside(name, from)).collect();
        let mut left = vec![container];
        for (name, value) in items {
            let text = text_of(name).or_else(|| bytes_of(name)).unwrap_or_default();
            let is_it = |it: &&[u8]| match from {
                HEADERS_FROM => it.eq_ignore_ascii_case(text),
                _ => *it == text,
            };
            if !ignored.iter().any(is_it) {
                left.extend([name, value].concat());
            }
        }
        left.push(tag::END);
        Kept::Part(left)
    }
}

/// What follows one of these settings in a name; `None` if it begins with none of them.
fn inside<'a>(name: &'a [u8], settings: &str) -> Option<&'a [u8]> {
    let of = |setting: &str| name.strip_prefix(setting.as_bytes())?.strip_prefix(b".");
    settings.split(' ').find_map(of)
}

/// The members of a container in pairs; `None` if it is another one, or has an odd number.
fn pairs_of(value: &[u8], container: u8) -> Option<Vec<(&[u8], &[u8])>> {
    if value.first() == Some(&container) { pairs(members(value)) } else { None }
}

/// A member of a dict, or of a list of pairs.
struct Item<'a> {
    /// The tag of the pair; `None` in a dict.
    pair: Option<u8>,
    key: &'a [u8],
    value: &'a [u8],
}

/// The members of a dict, or of a list of pairs; `None` for any other value.
fn items_of(value: &[u8]) -> Option<Vec<Item<'_>>> {
    if let Some(pairs) = pairs_of(value, tag::DICT) {
        let item = |(key, value)| Item { pair: None, key, value };
        return Some(pairs.into_iter().map(item).collect());
    }
    let item = |pair| match (pair, &members(pair).collect::<Vec<_>>()[..]) {
        (&[tag @ (tag::LIST | tag::TUPLE), ..], &[key, value]) => {
            Some(Item { pair: Some(tag), key, value })
        }
        _ => None,
    };
    let is_list = value.first() == Some(&tag::LIST) && members(value).next().is_some();
    is_list.then(|| members(value).map(item).collect())?
}

fn pairs<'a>(mut all: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let mut found = Vec::new();
    while let Some(first) = all.next() {
        found.push((first, all.next()?));
    }
    Some(found)
}

/// The bytes that `value`, the encoding of one value, stands for; `None` if that is no bytes.
fn bytes_of(value: &[u8]) -> Option<&[u8]> {
    let length = value.strip_prefix(&[tag::BYTES])?;
    let last = length.iter().position(|&byte| byte < 0x80)?;
    length.get(last + 1..)
}

/// The names of the classes in a value, in their order.
pub(super) fn classes_in(mut value: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(&kind) = value.first() {
        let is_container = matches!(kind, tag::LIST..=tag::FROZENSET | tag::KIND);
        let length = if is_container { 1 } else { extent(value) };
        if kind == tag::CLASS {
            let last = value.iter().skip(1).position(|&byte| byte < 0x80).unwrap_or_default();
            let name = value.get(last + 2..length).unwrap_or_default();
            found.push(String::from_utf8_lossy(name).into_owned());
        }
        value = value.get(length..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
#[path = "ignored_tests.rs"]
mod tests;
