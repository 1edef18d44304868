//! JSON strings exactly as Python's `json.dumps` writes them by default: in ASCII alone.
#![forbid(unsafe_code)]

/// Bytes that are looked at together, without a branch: the compiler makes vectors of it.
const RUN: usize = 32;

/// Appends a JSON string, with its quotes.
///
/// `text` is UTF-8, or UTF-8 with lone surrogates passed through (as Python's `surrogatepass`).
/// Anything else gives a string of other characters, never a panic.
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(first) = rest.first() {
        if is_plain(*first) {
            let (plain, other) = rest.split_at(plain_len(rest));
            out.extend_from_slice(plain);
            rest = other;
        } else {
            let (char, len) = first_char(rest);
            push_escaped(out, char);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
    out.push(b'"');
}

/// Whether a byte stands for itself: printable ASCII but `"` and `\`. DEL is escaped too.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// How many bytes at the beginning stand for themselves.
fn plain_len(text: &[u8]) -> usize {
    let is_plain_run = |run: &&[u8; RUN]| run.iter().fold(true, |all, byte| all & is_plain(*byte));
    let runs = text.as_chunks::<RUN>().0.iter().take_while(is_plain_run).count();
    let len = runs * RUN;
    len + text[len..].iter().take_while(|byte| is_plain(**byte)).count()
}

/// The code point at the beginning of a text, and its length in bytes.
fn first_char(text: &[u8]) -> (u32, usize) {
    let tail = |byte: u8| u32::from(byte & 0x3f);
    match *text {
        [lead @ 0xc0..0xe0, a, ..] => (u32::from(lead & 0x1f) << 6 | tail(a), 2),
        [lead @ 0xe0..0xf0, a, b, ..] => (u32::from(lead & 0x0f) << 12 | tail(a) << 6 | tail(b), 3),
        [lead @ 0xf0..=0xff, a, b, c, ..] => {
            (u32::from(lead & 0x07) << 18 | tail(a) << 12 | tail(b) << 6 | tail(c), 4)
        }
        [byte, ..] => (u32::from(byte), 1),
        [] => (0, 1),
    }
}

fn push_escaped(out: &mut Vec<u8>, char: u32) {
    let short = match char {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x22 => b'"',
        0x5c => b'\\',
        0..0x1_0000 => return push_unit(out, char),
        _ => {
            let above = char - 0x1_0000;
            push_unit(out, 0xd800 | above >> 10 & 0x3ff);
            return push_unit(out, 0xdc00 | above & 0x3ff);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A UTF-16 code unit as `\uXXXX`.
fn push_unit(out: &mut Vec<u8>, unit: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| DIGITS[(unit >> shift & 0xf) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use super::push_string;

    fn json(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn what_python_escapes_is_escaped_and_nothing_else() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain / text ~", r#""plain / text ~""#),
            ("\"\\", r#""\"\\""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{b}\u{1f}\u{7f}\u{80}", r#""\u0000\u000b\u001f\u007f\u0080""#),
            ("é\u{7ff}\u{800}\u{ffff}", r#""\u00e9\u07ff\u0800\uffff""#),
            ("\u{10000}🦀\u{10ffff}", r#""\ud800\udc00\ud83e\udd80\udbff\udfff""#),
        ] {
            assert_eq!(json(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn lone_surrogates_stay_alone() {
        assert_eq!(json(b"\xed\xa0\x80"), r#""\ud800""#);
        assert_eq!(json(b"\xed\xa0\xbd\xed\xb8\x80 \xed\xbf\xbf"), r#""\ud83d\ude00 \udfff""#);
    }

    #[test]
    fn an_escape_at_any_place_of_a_long_text_is_found() {
        for at in 0..100 {
            let mut text = "x".repeat(100);
            text.replace_range(at..=at, "\n");
            assert_eq!(json(text.as_bytes()), format!("\"{}\"", text.replace('\n', "\\n")));
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        for byte in 0..=u8::MAX {
            for text in [&[byte][..], &[byte, byte], &[b'x', byte], &[byte, b'x', byte, byte]] {
                assert!(json(text).is_ascii());
            }
        }
    }
}
