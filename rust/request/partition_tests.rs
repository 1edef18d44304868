//! Partitions, against keys of the same requests with another question.

use super::*;
use std::collections::{HashMap, HashSet};

const MODEL: &str = "[('_type', 'fake'), ('temperature', 0.5), ('tools', [{'name': 'f'}])]";

fn message(class: &str, arguments: &str) -> String {
    format!(
        r#"{{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "{class}"], "kwargs": {{{arguments}}}}}"#
    )
}

fn said(class: &str, text: &str) -> String {
    message(class, &format!(r#""content": "{text}""#))
}

type Change = fn(&mut Asked);

/// A request to be changed in one place.
#[derive(Clone)]
struct Asked {
    namespace: &'static str,
    model: String,
    messages: Vec<String>,
    supplement: &'static [u8],
    schema: Option<[u8; 32]>,
    is_text: bool,
    secret: Option<&'static [u8]>,
}

impl Asked {
    fn new() -> Self {
        let system = said("SystemMessage", "Be brief.");
        let history = [said("HumanMessage", "a"), said("AIMessage", "b")];
        Self {
            namespace: "team",
            model: MODEL.to_owned(),
            messages: vec![
                system,
                history[0].clone(),
                history[1].clone(),
                said("HumanMessage", "q"),
            ],
            supplement: b"",
            schema: Some([1; 32]),
            is_text: false,
            secret: None,
        }
    }

    fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut other = self.clone();
        change(&mut other);
        other
    }

    fn with<T>(&self, call: impl FnOnce(&Keyer, &Request<'_>, Context<'_>) -> T) -> T {
        let prompt = if self.is_text {
            self.messages.concat()
        } else {
            format!("[{}]", self.messages.join(", "))
        };
        let request = Request {
            namespace: self.namespace.as_bytes(),
            llm_string: self.model.as_bytes(),
            prompt: prompt.as_bytes(),
        };
        let (supplement, is_text) = (Some(self.supplement), self.is_text);
        let context = Context { supplement, is_text, ..Context::default() };
        call(&Keyer::new(self.secret), &request, context)
    }

    fn partition(&self) -> Result<Option<Partition>, Bypass> {
        self.with(|keyer, request, context| keyer.partition(request, context, |_| self.schema))
    }

    fn key(&self) -> Result<[u8; 32], Bypass> {
        self.with(|keyer, request, context| keyer.key(request, context, |_| self.schema))
            .map(|key| key.0)
    }

    #[track_caller]
    fn digest(&self) -> [u8; 32] {
        self.partition().expect("no bypass").expect("it has a question").digest
    }
}

#[test]
fn requests_that_differ_in_their_question_share_a_partition() {
    let asked = Asked::new();
    let other = asked.but(|it| it.messages[3] = said("HumanMessageChunk", "another"));
    assert_eq!(asked.digest(), other.digest());
    assert_ne!(asked.key(), other.key());
    let question = |asked: &Asked| asked.partition().map(|it| it.map(|it| it.question));
    assert_eq!(question(&asked), Ok(Some("q".to_owned())));
    assert_eq!(question(&other), Ok(Some("another".to_owned())));
}

#[test]
fn everything_else_counts() {
    let asked = Asked::new();
    let changes: [(&str, Change); 18] = [
        ("namespace", |it| it.namespace = "other"),
        ("temperature", |it| it.model = it.model.replace("0.5", "0.6")),
        ("tools", |it| it.model = it.model.replace("'f'", "'g'")),
        ("class", |it| it.model = it.model.replace("0.5", "<class 'm.A'>")),
        ("opaque model", |it| it.model = "a model".to_owned()),
        ("system prompt", |it| it.messages[0] = said("SystemMessage", "Be long.")),
        ("no system prompt", |it| drop(it.messages.remove(0))),
        ("first question", |it| it.messages[1] = said("HumanMessage", "x")),
        ("answer", |it| it.messages[2] = said("AIMessage", "x")),
        ("role", |it| it.messages[2] = said("HumanMessage", "b")),
        ("order", |it| it.messages.swap(1, 2)),
        ("no history", |it| drop(it.messages.drain(1..3))),
        ("more history", |it| it.messages.insert(3, said("HumanMessage", "q"))),
        ("supplement", |it| it.supplement = b"x"),
        ("secret", |it| it.secret = Some(b"s")),
        ("name", |it| it.messages[3] = message("HumanMessage", r#""content": "q", "name": "n""#)),
        ("argument", |it| {
            it.messages[3] =
                message("HumanMessage", r#""additional_kwargs": {"a": 1}, "content": "q""#);
        }),
        ("blocks", |it| {
            it.messages[3] =
                message("HumanMessage", r#""content": [{"type": "text", "text": "q"}]"#);
        }),
    ];
    let mut seen = HashMap::from([(asked.digest(), "nothing")]);
    for (what, change) in changes {
        let clash = seen.insert(asked.but(change).digest(), what);
        assert_eq!(clash, None, "{what}");
    }
    let with_class = asked.but(|it| it.model = it.model.replace("0.5", "<class 'm.A'>"));
    let redefined = with_class.but(|it| it.schema = Some([2; 32]));
    assert_ne!(with_class.digest(), redefined.digest());
    // Framed apart: no bytes move from one part to the next.
    let moved = asked.but(|it| it.supplement = &[1; 32]);
    assert_ne!(with_class.but(|it| it.supplement = &[2; 32]).digest(), moved.digest());
}

#[test]
fn a_request_that_does_not_end_in_a_question_has_no_partition() {
    for class in ["AIMessage", "ToolMessage", "SystemMessage", "ChatMessage"] {
        let asked = Asked::new().but(|it| it.messages.push(said(class, "x")));
        assert_eq!(asked.partition(), Ok(None), "{class}");
    }
    assert_eq!(Asked::new().but(|it| it.messages[3] = said("Mine", "x")).partition(), Ok(None));
}

#[test]
fn a_request_without_a_key_has_no_partition() {
    let asked = Asked::new();
    let object = r#""content": "q", "o": {"lc": 1, "type": "not_implemented", "repr": "at 0x7f"}"#;
    for bypassed in [
        asked.but(|it| it.model = "[('f', <function f at 0x7f>)]".to_owned()),
        asked.but(|it| it.messages[0] = message("SystemMessage", object)),
        asked.but(|it| it.messages[3] = message("HumanMessage", object)),
        asked.but(|it| {
            it.model = "[('f', <class 'm.A'>)]".to_owned();
            it.schema = None;
        }),
        // The bypass is told, even where there is no question.
        asked.but(|it| {
            it.model = "[('f', <class 'm.A'>)]".to_owned();
            it.schema = None;
            it.messages.push(said("AIMessage", "x"));
        }),
    ] {
        let bypass = bypassed.key().expect_err("it has no key");
        assert_eq!(bypassed.partition(), Err(bypass));
    }
}

#[test]
fn the_prompt_of_a_completion_model_is_its_question() {
    let text = |text: &str, is_text: bool| {
        let (namespace, supplement) = (&b""[..], Some(&b""[..]));
        let request = Request { namespace, llm_string: MODEL.as_bytes(), prompt: text.as_bytes() };
        let context = Context { supplement, is_text, ..Context::default() };
        let found = Keyer::new(None).partition(&request, context, |_| None).expect("no bypass");
        found.map(|it| (it.digest, it.question))
    };
    let (digest, question) = text("2 + 2?", true).expect("it has a question");
    assert_eq!(question, "2 + 2?");
    assert_eq!(text("2 + 3?", true).map(|it| it.0), Some(digest));
    assert_eq!(text("2 + 3?", false).map(|it| it.0), Some(digest), "as with keys");
    assert_eq!(text("", true), None);
    let messages = format!("[{}]", said("HumanMessage", "a"));
    assert_eq!(text(&messages, true), Some((digest, messages.clone())));
    assert_ne!(text(&messages, false).map(|it| it.0), Some(digest));
    // A message of a user's class: which part of the text is the question cannot be told.
    let unknown = format!(" [{}]", said("MyMessage", "a"));
    assert_eq!(text(&unknown, false), None);
    assert_eq!(text(&unknown, true), Some((digest, unknown)));
    let surrogate = Request { namespace: b"", llm_string: b"m", prompt: b"a\xED\xA0\x80" };
    assert_eq!(Keyer::new(None).partition(&surrogate, Context::default(), |_| None), Ok(None));
}

#[test]
fn a_partition_is_no_key_of_what_is_left() {
    // Its form is that of the partition: the kind of the part tells them apart.
    let asked = Asked::new();
    let null = asked.but(|it| it.messages[3] = message("HumanMessage", r#""content": null"#));
    assert_ne!(Ok(asked.digest()), null.key());
    assert_eq!(null.partition(), Ok(None));
}

/// xorshift64*: enough for a test, and the same on every run.
struct Dice(u64);

impl Dice {
    fn of<T: Copy>(&mut self, sides: &[T]) -> T {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        sides[usize::try_from(roll).expect("31 bits") % sides.len()]
    }
}

const TEXTS: &[&str] = &["a", "b", "\\u0000", "\\u0007\\u0001a", "\\\"}, {", ""];
const CLASSES: &[&str] = &["HumanMessage", "HumanMessageChunk", "AIMessage", "SystemMessage"];
const OTHERS: &[&str] = &["", r#", "name": "a""#, r#", "id": "x""#, r#", "zzzzzzzzzzzz": []"#];

/// A message; the same with texts that say nothing; and whether it is a question.
fn random_message(dice: &mut Dice) -> (String, String, bool) {
    let class = dice.of(CLASSES);
    let (before, after) = (dice.of(&["", r#""a": 1, "#]), dice.of(OTHERS));
    let texts: Vec<&str> = (0..dice.of(&[1, 1, 2])).map(|_| dice.of(TEXTS)).collect();
    let is_list = texts.len() > 1 || dice.of(&[true, false]);
    let extra = if is_list { dice.of(&["", "", "", r#", "x": 1"#]) } else { "" };
    let written = |texts: &[&str]| {
        let block = |text: &&str| format!(r#"{{"type": "text", "text": "{text}"{extra}}}"#);
        let content = if is_list {
            format!("[{}]", texts.iter().map(block).collect::<Vec<_>>().join(","))
        } else {
            format!("\"{}\"", texts[0])
        };
        message(class, &format!(r#"{before}"content": {content}{after}"#))
    };
    let is_question =
        class.starts_with("Human") && extra.is_empty() && texts.iter().all(|it| !it.is_empty());
    (written(&texts), written(&vec!["Q"; texts.len()]), is_question)
}

#[test]
fn partitions_are_equal_exactly_if_keys_with_another_question_are() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut keys, mut partitions) = (HashMap::new(), HashMap::new());
    let (mut all_keys, mut questions, mut shared) = (HashSet::new(), 0, 0);
    for _ in 0..3000 {
        let mut asked = Asked::new();
        asked.namespace = dice.of(&["", "a"]);
        asked.model = dice.of(&["m", "[('n', 1)]", "[('f', <class 'm.A'>)]"]).to_owned();
        asked.supplement = dice.of(&[&b""[..], b"a", &[1; 32]]);
        asked.secret = dice.of(&[None, Some(&b"s"[..])]);
        asked.messages = (0..dice.of(&[0, 0, 1, 2])).map(|_| random_message(&mut dice).0).collect();
        let (last, replaced, is_question) = random_message(&mut dice);
        asked.messages.push(last);
        all_keys.insert(asked.key().expect("no bypass"));
        let found = asked.partition().expect("no bypass");
        assert_eq!(found.is_some(), is_question, "{:?}", asked.messages);
        let Some(found) = found else { continue };
        *asked.messages.last_mut().expect("it has one") = replaced;
        let key = asked.key().expect("no bypass");
        all_keys.insert(key);
        questions += 1;
        shared += usize::from(partitions.contains_key(&found.digest));
        assert_eq!(*partitions.entry(found.digest).or_insert(key), key);
        assert_eq!(*keys.entry(key).or_insert(found.digest), found.digest);
    }
    assert!(questions > 500 && shared > 150, "{questions}, {shared}");
    assert!(partitions.keys().all(|digest| !all_keys.contains(digest)));
}
