//! Reads the settings of an `llm_string` one by one, and puts together those that count.
#![forbid(unsafe_code)]

use super::cursor::{Cursor, Fail};
use super::encoding::{is_str, leaf, tag};
use super::immaterial::is_immaterial;
use super::json::Json;
use super::literal::Literals;
use super::objects::Objects;
use super::{Bypass, Canonical, ClassMention, Part, Place, Reason};
use std::ops::Range;

/// The settings of a text that is being read.
#[derive(Default)]
pub(super) struct Reading {
    /// The values, encoded, one after the other.
    values: Vec<u8>,
    settings: Vec<Setting>,
    /// How often the head has `kwargs`.
    arguments: usize,
    /// The parameter that is being read.
    current: Option<String>,
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

impl Reading {
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
        self.tail(&mut Literals::new(cursor))
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
        let need = |found: bool| if found { Ok(()) } else { Err(Fail::Shape) };
        need(literals.cursor.eat(b"["))?;
        if !literals.cursor.eat(b"]") {
            loop {
                need(literals.cursor.eat(b"("))?;
                let name = literals.name()?.to_vec();
                need(literals.cursor.eat(b", "))?;
                self.current = Some(label(Place::Call, &name));
                let (start, begin) = (self.values.len(), literals.cursor.at());
                literals.value(&mut self.values)?;
                let (value, source) = (start..self.values.len(), begin..literals.cursor.at());
                let classes = std::mem::take(&mut literals.classes);
                let place = Place::Call;
                self.settings.push(Setting { place, name, value, source, classes, object: None });
                if !literals.cursor.eat(b")") {
                    // A third member: no parameter. Anything else: the value was only half of a leaf.
                    need(!literals.cursor.rest().starts_with(b", "))?;
                    return Err(literals.fail());
                }
                if !literals.cursor.eat(b", ") {
                    break;
                }
            }
            need(literals.cursor.eat(b"]"))?;
        }
        need(literals.cursor.is_done())
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
        let class = self.class();
        for setting in &self.settings {
            let Setting { place, name, value, source, classes, object } = setting;
            if is_immaterial(class, *place, name) {
                continue;
            }
            let value = &self.values[value.clone()];
            let stands_for_object =
                *place == Place::Envelope && name == b"type" && is_str(value, "not_implemented");
            let object = object.or(stands_for_object.then_some(Reason::UnknownRepr));
            let name_shown = label(*place, name);
            if let Some(reason) = object {
                return Err(Bypass { reason, parameter: Some(name_shown) });
            }
            whole.bytes.push(*place as u8);
            leaf(&mut whole.bytes, tag::STR, name);
            let start = whole.bytes.len();
            whole.bytes.extend_from_slice(value);
            let part = whole.parts.len();
            whole
                .classes
                .extend(classes.iter().map(|class| ClassMention { part, name: class.clone() }));
            let value = start..whole.bytes.len();
            let source = source.clone();
            whole.parts.push(Part { place: *place, name: name_shown, value, source });
        }
        Ok(whole)
    }
}

/// How a setting is called in front of users.
fn label(place: Place, name: &[u8]) -> String {
    if place == Place::Envelope && name == b"id" {
        return "class".to_owned();
    }
    String::from_utf8_lossy(name).into_owned()
}
