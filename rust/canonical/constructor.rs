//! Values that `repr` prints as a call of their constructor: dates, decimals, paths and the like.
//!
//! Only of types of the standard library that print all that they hold, and with nothing else in the
//! call than numbers, text and such calls. So `datetime.datetime(…, tzinfo=tzlocal())` is not read: the
//! next process may have another local time.
#![forbid(unsafe_code)]

use super::cursor::Cursor;

/// Constructors, as they are printed, none a prefix of another with its bracket.
const NAMES: [&str; 14] = [
    "bytearray",
    "range",
    "datetime.date",
    "datetime.time",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "Decimal",
    "Fraction",
    "UUID",
    "PurePosixPath",
    "PureWindowsPath",
    "PosixPath",
    "WindowsPath",
];

/// Values that are printed by their name.
const WORDS: [&str; 2] = ["Ellipsis", "datetime.timezone.utc"];

/// Calls inside each other: a date, its time zone, and the difference of that.
const CALLS_MAX: usize = 3;

/// Takes a complex number, or a value that is printed as a call, if one is next.
pub(super) fn constructed<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let start = cursor.rest();
    for read in [complex, |ahead: &mut Cursor| call(ahead, CALLS_MAX)] {
        let mut ahead = *cursor;
        if read(&mut ahead).is_some() {
            *cursor = ahead;
            return start.get(..start.len() - ahead.rest().len());
        }
    }
    None
}

fn eat(cursor: &mut Cursor, token: &str) -> Option<()> {
    cursor.eat(token.as_bytes()).then_some(())
}

/// `Decimal('1.0')`, `datetime.timedelta(days=1)`, `Ellipsis`
fn call(cursor: &mut Cursor, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if WORDS.iter().any(|word| cursor.eat(word.as_bytes())) {
        return Some(());
    }
    let opens = |cursor: &mut Cursor, name: &str| {
        let mut ahead = *cursor;
        let opens = ahead.eat(name.as_bytes()) && ahead.eat(b"(");
        if opens {
            *cursor = ahead;
        }
        opens
    };
    NAMES.iter().find(|name| opens(cursor, name))?;
    loop {
        argument(cursor, depth)?;
        if cursor.eat(b")") {
            return Some(());
        }
        eat(cursor, ", ")?;
    }
}

fn argument(cursor: &mut Cursor, depth: usize) -> Option<()> {
    let mut ahead = *cursor;
    // `tzinfo=`: no value begins so.
    if !ahead.take_while(|byte| byte.is_ascii_lowercase()).is_empty() && ahead.eat(b"=") {
        *cursor = ahead;
    }
    let start = *cursor;
    for read in [quoted, number] {
        if read(cursor).is_some() {
            return Some(());
        }
        *cursor = start;
    }
    call(cursor, depth)
}

/// Text or bytes, with escapes as `repr` writes them.
fn quoted(cursor: &mut Cursor) -> Option<()> {
    cursor.eat(b"b");
    let quote = cursor.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
    cursor.advance(1);
    loop {
        cursor.take_until(|byte| byte == quote || byte == b'\\')?;
        if cursor.eat(&[quote]) {
            return Some(());
        }
        cursor.advance(2);
    }
}

/// `(1+2j)`, `-0j`
fn complex(cursor: &mut Cursor) -> Option<()> {
    if !cursor.eat(b"(") {
        number(cursor)?;
        return eat(cursor, "j");
    }
    number(cursor)?;
    // The sign of the imaginary part is always there: `+`, or its own.
    if !cursor.eat(b"+") && cursor.peek() != Some(b'-') {
        return None;
    }
    number(cursor)?;
    eat(cursor, "j)")
}

/// An int, or a float without the `.0` that a complex number leaves out.
fn number(cursor: &mut Cursor) -> Option<()> {
    let digits = |cursor: &mut Cursor| {
        (!cursor.take_while(|byte| byte.is_ascii_digit()).is_empty()).then_some(())
    };
    cursor.eat(b"-");
    if cursor.eat(b"nan") || cursor.eat(b"inf") {
        return Some(());
    }
    digits(cursor)?;
    if cursor.eat(b".") {
        digits(cursor)?;
    }
    if cursor.eat(b"e") {
        let _ = cursor.eat(b"-") || cursor.eat(b"+");
        digits(cursor)?;
    }
    Some(())
}
