//! How the canonicaliser's time grows with a text, of the texts that a fuzzer has found.
//!
//!     scaling FOLDER...
//!
//! A piece of each text is repeated, beside itself or inside itself, up to 64 KiB. Those that take the
//! longest are made as long as 4 MiB: the time for each byte must not grow with them.

use llmemo::canonical::{Objects, llm_string, prompt};
use llmemo_fuzz::dice::Dice;
use llmemo_fuzz::texts::spans;
use std::ffi::c_long;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;
use std::{env, fs, io, process};

/// Bytes of the texts of which the slowest are looked for.
const SHORT: usize = 1 << 16;

/// Bytes of the texts that these are made into. Memory costs the same for each byte of all of them: it
/// comes from the system.
const LONG: [usize; 3] = [1 << 20, 1 << 21, 1 << 22];

/// So much more time for each byte may the longest take than the shortest. If time were quadratic, it
/// would be four.
const GROWTH_MAX: f64 = 2.5;

/// Seconds of one measurement: many of the steps in which some systems count them.
const LASTING: f64 = 0.2;

/// Ways to repeat a piece of each text.
const WAYS: usize = 32;

/// How many of the slowest are looked at.
const SLOWEST: usize = 50;

/// A text of which a part can be repeated.
struct Pump {
    before: Vec<u8>,
    open: Vec<u8>,
    middle: Vec<u8>,
    close: Vec<u8>,
    after: Vec<u8>,
}

impl Pump {
    fn new(text: &[u8], dice: &mut Dice) -> Option<Self> {
        let spans = spans(text);
        let first = dice.of(&spans)?;
        let (start, mut end) = (first.start, first.end);
        // A key, and its value.
        let next = spans.iter().find(|span| span.start == end + 2);
        if let Some(next) = next
            && dice.roll(2) == 0
        {
            end = next.end;
        }
        let within = |span: &&Range<usize>| start <= span.start && span.end <= end;
        let inner: Vec<_> = spans.iter().filter(within).collect();
        let (middle, separator, after) = match dice.of(&inner) {
            Some(&inner) if dice.roll(2) == 0 => (inner.clone(), &b""[..], end),
            _ => (end..end, &b", "[..], start),
        };
        Some(Self {
            before: text[..start].to_vec(),
            open: text[start..middle.start].to_vec(),
            middle: text[middle.clone()].to_vec(),
            close: [&text[middle.end..end], separator].concat(),
            after: text[after..].to_vec(),
        })
    }

    fn of_size(&self, size: usize) -> Vec<u8> {
        let times = size / (self.open.len() + self.close.len()).max(1);
        let (open, close) = (self.open.repeat(times), self.close.repeat(times));
        [&self.before[..], &open, &self.middle, &close, &self.after].concat()
    }

    /// Nanoseconds for each byte of a short text: the better of two times.
    fn cost(&self) -> f64 {
        let text = self.of_size(SHORT);
        let time = || {
            let start = Instant::now();
            read(&text);
            start.elapsed().as_secs_f64()
        };
        time().min(time()) * 1e9 / count(text.len())
    }

    /// How much longer each byte takes, the text being longer. By the processor's time, since other
    /// programs may run.
    fn growth(&self, turn: u32) -> f64 {
        let costs = LONG.map(|size| {
            let text = self.of_size(size);
            let (start, mut reads) = (processor_time(), 0);
            while processor_time() - start < LASTING * f64::from(turn) {
                read(&text);
                reads += text.len();
            }
            (processor_time() - start) / count(reads)
        });
        costs.iter().fold(0.0, |most: f64, cost| most.max(cost / costs[0]))
    }
}

/// Has a text read as whatever it may be.
fn read(text: &[u8]) {
    let _ = black_box(prompt(text, Objects::ByRepr, &mut Vec::new()));
    let _ = black_box(llm_string(text));
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(bytes: usize) -> f64 {
    bytes as f64
}

unsafe extern "C" {
    fn clock() -> c_long;
}

/// Seconds that this process has had of a processor.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn processor_time() -> f64 {
    // SAFETY: a function of C's library, without arguments. (POSIX has the unit.)
    unsafe { clock() as f64 / 1e6 }
}

fn main() -> io::Result<()> {
    let mut dice = Dice::new(1);
    let (mut texts, mut slow) = (0, Vec::new());
    for folder in env::args().skip(1) {
        let mut paths = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        paths.sort_by_key(fs::DirEntry::file_name);
        for path in paths {
            let text = fs::read(path.path())?;
            texts += 1;
            for pump in (0..WAYS).filter_map(|_| Pump::new(&text, &mut dice)) {
                slow.push((pump.cost(), pump));
            }
            slow.sort_by(|one, other| other.0.total_cmp(&one.0));
            slow.truncate(SLOWEST);
        }
    }
    let mut most = 0.0_f64;
    for (_, pump) in &slow {
        // Again and for longer, before it is blamed: other programs use the caches, too.
        let growth = (1..4).map(|turn| pump.growth(turn)).find(|&it| it < GROWTH_MAX);
        let growth = growth.unwrap_or_else(|| {
            eprintln!("superlinear: {}", pump.of_size(1000).escape_ascii());
            process::exit(1);
        });
        most = most.max(growth);
    }
    println!(
        "time: of {texts} texts, made longer in {WAYS} ways each, the slowest take {:.0} ns a byte at \
         64 KiB; from 1 to 4 MiB, each byte takes at most {most:.2} times as long",
        slow.first().map_or(0.0, |(_, pump)| pump.cost())
    );
    Ok(())
}
