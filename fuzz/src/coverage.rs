//! Which edges of llmemo's own code a run has gone along.
//!
//! The compiler's `SanitizerCoverage` gives each edge a counter of 8 bits and the address of its code.
//! libFuzzer sets the counters to zero before each input; what they were is kept here.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// An edge, as `-sanitizer-coverage-pc-table` describes it.
#[repr(C)]
struct Edge {
    address: usize,
    flags: usize,
}

unsafe extern "C" {
    // The linker's names for where these sections start and end.
    #[link_name = "__start___sancov_cntrs"]
    static mut COUNTERS: u8;
    #[link_name = "__stop___sancov_cntrs"]
    static mut COUNTERS_END: u8;
    #[link_name = "__start___sancov_pcs"]
    static EDGES: Edge;
    #[link_name = "__stop___sancov_pcs"]
    static EDGES_END: Edge;

    fn atexit(call: extern "C" fn()) -> c_int;
}

static SEEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static FILES: OnceLock<&[&str]> = OnceLock::new();

/// Has the coverage of these files, by the beginnings of their paths within `rust/`, printed when the
/// process exits.
pub fn print_at_exit(files: &'static [&'static str]) {
    if FILES.set(files).is_ok() {
        observe();
        // SAFETY: a function of C's library, given one that does not unwind.
        unsafe { atexit(print) };
    }
}

/// Remembers what the last input has covered.
pub fn observe() {
    // SAFETY: the section lies between the two. It changes meanwhile only by this function's own edges.
    let counters = unsafe {
        let start = &raw const COUNTERS;
        std::slice::from_raw_parts(start, (&raw const COUNTERS_END).offset_from_unsigned(start))
    };
    let Ok(mut seen) = SEEN.lock() else { return };
    seen.resize(counters.len(), 0);
    for (seen, counter) in seen.iter_mut().zip(counters) {
        *seen |= counter;
    }
}

/// What is known of a file: of each line with code, how many edges it has, and how many were covered.
type Lines = BTreeMap<u32, (usize, usize)>;

/// Prints how much of each file was covered.
extern "C" fn print() {
    // SAFETY: the section lies between the two, and is constant.
    let edges = unsafe {
        let start = &raw const EDGES;
        std::slice::from_raw_parts(start, (&raw const EDGES_END).offset_from_unsigned(start))
    };
    let Ok(seen) = SEEN.lock() else { return };
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    for (edge, seen) in edges.iter().zip(&*seen) {
        if let Some((file, line)) = place_of(edge.address)
            && FILES.get().is_some_and(|files| files.iter().any(|start| file.starts_with(start)))
        {
            let (covered, all) = files.entry(file).or_default().entry(line).or_default();
            *covered += usize::from(*seen > 0);
            *all += 1;
        }
    }
    // Edges that lead to a panic are among them: those of overflows, and of bounds that are kept.
    println!("{:24} {:>16} {:>16}  lines not reached", "coverage", "lines", "edges");
    let mut sums = [0; 4];
    for (file, lines) in files {
        let missed = lines.iter().filter(|(_, (covered, _))| *covered == 0);
        let missed: Vec<String> = missed.map(|(line, _)| line.to_string()).collect();
        let edges = lines.values().fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1));
        let numbers = [lines.len() - missed.len(), lines.len(), edges.0, edges.1];
        println!("{}  {}", row(&file, numbers), missed.join(" "));
        sums = std::array::from_fn(|at| sums[at] + numbers[at]);
    }
    println!("{}", row("all", sums));
}

/// A row of the table: lines that were reached, all lines; edges that were, all edges.
fn row(file: &str, [lines, all_lines, edges, all_edges]: [usize; 4]) -> String {
    let share =
        |part: usize, all: usize| format!("{part:5}/{all:<5}{:3} %", part * 100 / all.max(1));
    format!("{file:24} {} {}", share(lines, all_lines), share(edges, all_edges))
}

/// The file and the line of llmemo that an address belongs to, by way of inlining if need be.
fn place_of(address: usize) -> Option<(String, u32)> {
    const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rust");
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let ours = ROOT.get_or_init(|| Path::new(OURS).canonicalize().ok()).as_ref()?;
    let mut found = None;
    // An address is taken for that of a return, and looked up one byte before.
    backtrace::resolve((address + 1) as *mut c_void, |symbol| {
        if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno())
            && let Ok(file) = file.canonicalize()
            && let Ok(file) = file.strip_prefix(ours)
        {
            found.get_or_insert_with(|| (file.display().to_string(), line));
        }
    });
    found
}
