//! Reads the settings of an `llm_string` one by one, and puts together those that count.
#![forbid(unsafe_code)]

use super::bypass::{Bypass, Reason};
use super::cursor::{Cursor, Fail, contains, leaf_end};
use super::encoding::{is_str, leaf, tag};
use super::form::{Canonical, ClassMention, Part, Place};
use super::ignored::{Ignored, Kept, classes_in};
use super::immaterial::{Counts, Rows};
use super::json::Json;
use super::literal::Literals;
use super::objects::Objects;
use std::ops::Range;

/// How a parameter ends that is not the last one, and the next one begins.
const NEXT: [&[u8]; 2] = [b"), ('", b"), (\""];

/// The settings of a text that is being read.
pub(super) struct Reading<'i> {
    /// The settings that do not count besides.
    ignored: &'i Ignored,
    /// The values, encoded, one after the other.
    values: Vec<u8>,
    settings: Vec<Setting>,
    /// How often the head has `kwargs`.
    arguments: usize,
    /// The parameter that is being read.
    current: Option<String>,
    /// The first leaf that nobody had to understand, since its parameter does not count; and that.
    skipped: Option<(usize, String)>,
}

struct Setting {
    place: Place,
    name: Vec<u8>,
    value: Range<usize>,
    source: Range<usize>,
    classes: Vec<String>,
    /// The value is, or holds, an object that LangChain could not serialise.
    object: Option<Reason>,
}

impl Setting {
    fn rank(&self) -> (Place, Option<&[u8]>) {
        (self.place, (self.place == Place::Envelope).then_some(&self.name))
    }
}

impl<'i> Reading<'i> {
    /// Nothing was read yet. `ignored`: settings that do not count.
    pub(super) fn new(ignored: &'i Ignored) -> Self {
        Self {
            ignored,
            values: Vec::new(),
            settings: Vec::new(),
            arguments: 0,
            current: None,
            skipped: None,
        }
    }

    /// Reads all of a text.
    pub(super) fn all(&mut self, text: &[u8]) -> Result<(), Fail> {
        let mut cursor = Cursor::new(text);
        if text.starts_with(b"{") {
            let mut json = Json::new(cursor, Objects::ByRepr);
            self.head(&mut json)?;
            cursor = json.cursor;
            if !cursor.eat(b"---") {
                return Err(Fail::Shape);
            }
        }
        let tail = self.tail(&mut Literals::new(cursor));
        tail.map_err(|fail| match self.skipped.take() {
            // It may have ended elsewhere.
            Some((leaf, parameter)) if fail == Fail::Shape => {
                self.current = Some(parameter);
                Fail::Leaf(leaf)
            }
            _ => fail,
        })
    }

    /// `{"id": […], "kwargs": {…}, "lc": 1, "name": "…", "type": "constructor"}`
    fn head(&mut self, json: &mut Json) -> Result<(), Fail> {
        self.object(json, Place::Envelope)?;
        self.current = None;
        // Stable: arguments keep their order.
        self.settings.sort_by(|one, other| one.rank().cmp(&other.rank()));
        let envelope: Vec<_> =
            self.settings.iter().take_while(|setting| setting.place == Place::Envelope).collect();
        let has = |name: &str| envelope.iter().any(|setting| setting.name == name.as_bytes());
        let repeats = envelope.windows(2).any(|pair| pair[0].name == pair[1].name);
        let has_path = self.class().starts_with(&[tag::LIST]);
        if has_path && has("lc") && has("type") && !repeats && self.arguments == 1 {
            Ok(())
        } else {
            Err(Fail::Shape)
        }
    }

    /// The members of a JSON object, as settings.
    fn object(&mut self, json: &mut Json, place: Place) -> Result<(), Fail> {
        if !json.eat(b'{') {
            return Err(Fail::Shape);
        }
        if json.eat(b'}') {
            return Ok(());
        }
        loop {
            let name = json.name()?.to_vec();
            if place == Place::Envelope && name == b"kwargs" {
                self.arguments += 1;
                self.object(json, Place::Model)?;
            } else {
                self.current = Some(label(place, &name));
                let (start, begin) = (self.values.len(), json.cursor.at());
                json.value(&mut self.values)?;
                let (value, source) = (start..self.values.len(), begin..json.cursor.at());
                let (object, classes) = (json.object.take(), Vec::new());
                self.settings.push(Setting { place, name, value, source, classes, object });
            }
            if !json.eat(b',') {
                return if json.eat(b'}') { Ok(()) } else { Err(Fail::Shape) };
            }
        }
    }

    /// `[('name', value), …]`, to the very end.
    fn tail(&mut self, literals: &mut Literals) -> Result<(), Fail> {
        need(literals.cursor.eat(b"["))?;
        if !literals.cursor.eat(b"]") {
            self.parameter(literals)?;
            while literals.cursor.eat(b", ") {
                self.parameter(literals)?;
            }
            need(literals.cursor.eat(b"]"))?;
        }
        need(literals.cursor.is_done())?;
        // LangChain sorts them: see `skip`.
        let names = self.settings.iter().filter(|it| it.place == Place::Call).map(|it| &it.name);
        need(self.skipped.is_none() || names.is_sorted_by(|one, other| one < other))
    }

    /// `('name', value)`
    fn parameter(&mut self, literals: &mut Literals) -> Result<(), Fail> {
        need(literals.cursor.eat(b"("))?;
        let name = literals.name()?.to_vec();
        need(literals.cursor.eat(b", "))?;
        self.current = Some(label(Place::Call, &name));
        let (start, from) = (self.values.len(), literals.cursor);
        let read = literals.value(&mut self.values).and_then(|()| {
            if literals.cursor.eat(b")") {
                return Ok(());
            }
            // A third member: no parameter. Anything else: the value was only half of a leaf.
            need(!literals.cursor.rest().starts_with(b", "))?;
            Err(literals.fail())
        });
        let classes = std::mem::take(&mut literals.classes);
        if let Err(fail) = read {
            literals.cursor = self.skip(&name, from, fail).ok_or(fail)?;
            self.values.truncate(start);
        }
        let (value, source) = (start..self.values.len(), from.at()..literals.cursor.at() - 1);
        let place = Place::Call;
        self.settings.push(Setting { place, name, value, source, classes, object: None });
        Ok(())
    }

    /// Where a parameter ends that starts at `from` and holds an object, if it does not count. That is
    /// what its brackets and quotes say. Should they be wrong, as those of a `repr` in prose may be, no
    /// other parameter must be taken for a part of it, nor a part of it for another one.
    fn skip<'a>(&mut self, name: &[u8], from: Cursor<'a>, fail: Fail) -> Option<Cursor<'a>> {
        let Fail::Leaf(leaf) = fail else { return None };
        let is_immaterial = Rows::of(self.class()).counts(Place::Call, name) == Counts::Not;
        if !is_immaterial && !self.ignored.has(name) {
            return None;
        }
        let (value, rest) = from.rest().split_at(leaf_end(from.rest())?);
        if !rest.starts_with(b")") || NEXT.iter().any(|next| contains(value, next)) {
            return None;
        }
        self.skipped.get_or_insert_with(|| (leaf, label(Place::Call, name)));
        let mut end = from;
        end.advance(value.len() + 1);
        Some(end)
    }

    /// The encoded class id, which only a head has.
    fn class(&self) -> &[u8] {
        let is_id = |one: &&Setting| one.place == Place::Envelope && one.name == b"id";
        self.settings.iter().find(is_id).map_or(&[], |one| &self.values[one.value.clone()])
    }

    /// The refusal of a text that was read up to some obstacle.
    pub(super) fn bypass(self, reason: Reason) -> Bypass {
        Bypass { reason, parameter: self.current }
    }

    /// Puts together what counts.
    pub(super) fn finish(self) -> Result<Canonical, Bypass> {
        let mut whole = Canonical::default();
        let rows = Rows::of(self.class());
        for setting in &self.settings {
            let Setting { place, name, value, source, classes, object } = setting;
            let counts = rows.counts(*place, name);
            if counts == Counts::Not {
                continue;
            }
            let by_presence = counts == Counts::Presence;
            let value = if by_presence { &[tag::TRUE] } else { &self.values[value.clone()] };
            let kept = match place {
                Place::Envelope => Kept::Whole,
                Place::Model | Place::Call => self.ignored.keep(name, value),
            };
            let (value, classes) = match &kept {
                Kept::Whole => (value, classes.clone()),
                Kept::Part(left) => (&left[..], classes_in(left)),
                Kept::Nothing => continue,
            };
            let stands_for_object =
                *place == Place::Envelope && name == b"type" && is_str(value, "not_implemented");
            let object = object.or(stands_for_object.then_some(Reason::UnknownRepr));
            let object = object.filter(|_| !by_presence);
            let name_shown = label(*place, name);
            if let Some(reason) = object {
                return Err(Bypass { reason, parameter: Some(name_shown) });
            }
            whole.bytes.push(*place as u8);
            leaf(&mut whole.bytes, tag::STR, name);
            let start = whole.bytes.len();
            whole.bytes.extend_from_slice(value);
            let part = whole.parts.len();
            whole.classes.extend(classes.into_iter().map(|name| ClassMention { part, name }));
            let value = start..whole.bytes.len();
            let source = source.clone();
            whole.parts.push(Part { place: *place, name: name_shown, value, source });
        }
        Ok(whole)
    }
}

fn need(found: bool) -> Result<(), Fail> {
    if found { Ok(()) } else { Err(Fail::Shape) }
}

/// How a setting is called in front of users.
fn label(place: Place, name: &[u8]) -> String {
    if place == Place::Envelope && name == b"id" {
        return "class".to_owned();
    }
    String::from_utf8_lossy(name).into_owned()
}
