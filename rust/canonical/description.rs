//! What an object says of itself, in the encoding of canonical forms: see `docs/keys.md`.
//!
//! The texts that LangChain hands a cache leave settings out. The border reads these off the model
//! itself and writes them here: entries of a place, a name and a value, in the order of their bytes.
#![forbid(unsafe_code)]

use super::encoding::{extent, leaf, sort_members, tag, text_of};

/// A description that is being written.
#[derive(Debug, Default)]
pub struct Description {
    bytes: Vec<u8>,
    /// Where each entry begins.
    entries: Vec<usize>,
}

/// A container of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Its members in order.
    List,
    /// Its members in order.
    Tuple,
    /// Key, value, key, value, in order.
    Dict,
    /// Members in the order of their bytes.
    Set,
    /// Members in the order of their bytes.
    FrozenSet,
    /// The name of a kind of object, then what such an object holds.
    Object,
}

impl Container {
    fn tag(self) -> u8 {
        match self {
            Self::List => tag::LIST,
            Self::Tuple => tag::TUPLE,
            Self::Dict => tag::DICT,
            Self::Set => tag::SET,
            Self::FrozenSet => tag::FROZENSET,
            Self::Object => tag::KIND,
        }
    }
}

impl Description {
    /// Begins an entry; its value has to follow.
    pub fn entry(&mut self, place: u8, name: &[u8]) {
        self.entries.push(self.bytes.len());
        self.bytes.push(place);
        leaf(&mut self.bytes, tag::STR, name);
    }

    /// Takes back the entry that was begun last, and all that was written since.
    pub fn withdraw(&mut self) {
        if let Some(start) = self.entries.pop() {
            self.bytes.truncate(start);
        }
    }

    /// Where the next value begins: for [`Self::close_set`].
    #[must_use]
    pub fn at(&self) -> usize {
        self.bytes.len()
    }

    /// What was written from there on.
    #[must_use]
    pub fn since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..).unwrap_or_default()
    }

    /// None.
    pub fn none(&mut self) {
        self.bytes.push(tag::NONE);
    }

    /// True or False.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { tag::TRUE } else { tag::FALSE });
    }

    /// An int, by its decimal digits.
    pub fn int(&mut self, digits: &[u8]) {
        leaf(&mut self.bytes, tag::INT, digits);
    }

    /// A float, by Python's `repr`.
    pub fn float(&mut self, repr: &[u8]) {
        leaf(&mut self.bytes, tag::FLOAT, repr);
    }

    /// Text, in the `surrogatepass` form of UTF-8.
    pub fn text(&mut self, text: &[u8]) {
        leaf(&mut self.bytes, tag::STR, text);
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        leaf(&mut self.bytes, tag::BYTES, bytes);
    }

    /// A masked secret: that there is one is all that it says.
    pub fn secret(&mut self) {
        leaf(&mut self.bytes, tag::SECRET_STR, b"");
    }

    /// Opens a container.
    pub fn open(&mut self, container: Container) {
        self.bytes.push(container.tag());
    }

    /// Closes the innermost container.
    pub fn close(&mut self) {
        self.bytes.push(tag::END);
    }

    /// Closes a set whose members begin at `starts`.
    pub fn close_set(&mut self, starts: &[usize]) {
        sort_members(&mut self.bytes, starts);
        self.close();
    }

    /// All entries, each once, in the order of their bytes: that of the fields of a class may be another
    /// in the next version of its package.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let ends = self.entries.iter().skip(1).copied().chain([self.bytes.len()]);
        let mut entries: Vec<&[u8]> =
            self.entries.iter().zip(ends).map(|(&start, end)| &self.bytes[start..end]).collect();
        entries.sort_unstable();
        entries.dedup();
        entries.concat()
    }

    /// What was written, for a value that stands by itself.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// One entry of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is about: a field, a client, an option of the call.
    pub place: u8,
    /// Its name.
    pub name: &'a [u8],
    /// All of it, place and name included.
    pub whole: &'a [u8],
}

/// The entries of a description that [`Description::finish`] has made. Any bytes give some.
pub fn entries(mut description: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let place = *description.first()?;
        let name = 1 + extent(description.get(1..)?);
        let end = name + extent(description.get(name..)?);
        let whole = description.split_off(..end)?;
        Some(Entry { place, name: text_of(whole.get(1..name)?)?, whole })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_the_order_of_their_bytes_and_once() {
        let mut description = Description::default();
        for (name, digits) in [(&b"b"[..], b"1"), (b"a", b"2"), (b"b", b"1")] {
            description.entry(4, name);
            description.open(Container::Object);
            description.text(b"kind");
            description.int(digits);
            description.close();
        }
        description.entry(4, b"c");
        description.secret();
        description.withdraw();
        let bytes = description.finish();
        let found: Vec<_> = entries(&bytes).map(|it| (it.place, it.name)).collect();
        assert_eq!(found, [(4, &b"a"[..]), (4, b"b")]);
        assert_eq!(entries(&bytes).map(|it| it.whole).collect::<Vec<_>>().concat(), bytes);
    }

    #[test]
    fn a_set_is_told_in_the_order_of_its_members_bytes() {
        let told = |members: [&[u8]; 2]| {
            let mut description = Description::default();
            description.open(Container::Set);
            let starts = members.map(|member| {
                let start = description.at();
                description.text(member);
                start
            });
            description.close_set(&starts);
            description.into_bytes()
        };
        assert_eq!(told([b"one", b"two"]), told([b"two", b"one"]));
        assert_ne!(told([b"one", b"two"]), told([b"one", b"one"]));
    }

    #[test]
    fn any_bytes_have_entries() {
        for bytes in [&b""[..], b"\x04", b"\x04\x07", b"\x04\x07\x09a", b"\xff\xff\xff", b"\0\0\0"]
        {
            assert!(entries(bytes).count() <= bytes.len());
        }
    }
}
