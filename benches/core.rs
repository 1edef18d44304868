//! Criterion benches of the pure core. Run with `cargo bench --bench core`.
//!
//! `hash` settles two choices, recorded in `docs/decisions/xxh3-crate.md` and
//! `docs/decisions/fingerprints.md`. Which XXH3 crate finds an entry: `twox-hash` looks for SIMD when
//! it runs, `xxhash-rust` when it is compiled, and a wheel is compiled for the oldest processor of its
//! platform. And up to which size a memory hit compares the request
//! itself instead of a BLAKE3 digest of it: hence `blake3` and `memcmp`, for scale.
//!
//! `find` times all that a hit in memory does before it decodes, beside hashing the same strings;
//! `benches/run.py` puts it into its table.
//!
//! `search` times the search for near vectors: all of a partition, and by sketches first. It is why
//! partitions of more than some 20,000 vectors are searched by sketches.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use llmemo::memory::{Answer, Settings, Tier};
use llmemo::request::Fingerprinter;
use llmemo::request::Key;
use llmemo::request::Request;
use llmemo::vectors::{New, Packed, VectorIndex, pack};
use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// A short key, then prompts of the sizes that the Python benches use.
const SIZES: [(&str, usize); 5] = [
    ("64 B", 64),
    ("1 KB", 1024),
    ("10 KB", 10 * 1024),
    ("100 KB", 100 * 1024),
    ("1 MB", 1024 * 1024),
];

/// XXH3's usual length of a secret; an in-process index draws one at random.
const SECRET_BYTES: usize = 192;

/// Bytes without a pattern that a hash or a comparison could profit from.
fn noise(length: usize) -> Vec<u8> {
    noise_of(length as u64, length)
}

/// The same for each seed.
fn noise_of(seed: u64, length: usize) -> Vec<u8> {
    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn twox(secret: &[u8], data: &[u8]) -> u128 {
    XxHash3_128::oneshot_with_secret(secret, data).expect("the secret is long enough")
}

fn hash(criterion: &mut Criterion) {
    let secret = noise(SECRET_BYTES);
    let mut group = criterion.benchmark_group("hash");
    for (size, length) in SIZES {
        let data = noise(length);
        let copy = data.clone();
        // Figures of two functions compare only if both compute the same one.
        assert_eq!(twox(&secret, &data), xxh3_128_with_secret(&data, &secret));

        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("xxh3-128 twox-hash", size), |bencher| {
            bencher.iter(|| twox(black_box(&secret), black_box(&data)));
        });
        group.bench_function(BenchmarkId::new("xxh3-128 xxhash-rust", size), |bencher| {
            bencher.iter(|| xxh3_128_with_secret(black_box(&data), black_box(&secret)));
        });
        group.bench_function(BenchmarkId::new("blake3", size), |bencher| {
            bencher.iter(|| blake3::hash(black_box(&data)));
        });
        group.bench_function(BenchmarkId::new("memcmp", size), |bencher| {
            bencher.iter(|| black_box(data.as_slice()) == black_box(copy.as_slice()));
        });
    }
    group.finish();
}

fn find(criterion: &mut Criterion) {
    let secret = noise(SECRET_BYTES);
    let fingerprinter = Fingerprinter::new(&secret).expect("the secret is long enough");
    let llm_string = noise(600);
    let mut group = criterion.benchmark_group("find");
    for (size, length) in SIZES.into_iter().skip(1) {
        // As in a hit: what is asked lies elsewhere than what is kept.
        let (prompt, asked) = (noise(length), noise(length));
        let request = |prompt| Request { namespace: b"", llm_string: &llm_string, prompt };
        let mut tier = Tier::new(Settings::default());
        let probe = fingerprinter.probe(&request(&prompt));
        tier.update(&request(&prompt), &probe, Key([0; 32]), Answer::lasting(&[]));

        group.bench_function(BenchmarkId::new("llmemo", size), |bencher| {
            bencher.iter(|| {
                let request = request(black_box(&asked));
                let mut find = |probe| tier.lookup(&request, &probe, 0).hit();
                let found = fingerprinter.sketch(&request).and_then(&mut find);
                let found = found.or_else(|| find(fingerprinter.probe(&request)));
                found.expect("it is there")
            });
        });
        group.bench_function(BenchmarkId::new("XXH3", size), |bencher| {
            bencher
                .iter(|| (twox(&secret, black_box(&llm_string)), twox(&secret, black_box(&asked))));
        });
    }
    group.finish();
}

/// Vectors without a pattern, of the 384 dimensions that small models of embeddings have.
fn vector(number: u64) -> Packed {
    let values: Vec<f64> =
        noise_of(number << 20, 384).iter().map(|byte| f64::from(*byte) - 127.5).collect();
    Packed::read(&pack(&values).expect("it has a direction")).expect("it was packed")
}

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    let (partition, query) = ([0; 32], vector(u64::MAX));
    let mut index = VectorIndex::new(usize::MAX);
    let mut number = 0_u64;
    for vectors in [1_000, 10_000, 100_000] {
        while number < vectors {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            index.add(&New {
                tenant: [0; 16],
                partition,
                key,
                question: "a question of some forty characters, say",
                vector: vector(number),
            });
            number += 1;
        }
        let view = index.view(&partition).expect("it has vectors");
        for (way, sketched_above) in [("whole", usize::MAX), ("sketches", 0)] {
            group.bench_function(BenchmarkId::new(way, vectors), |bencher| {
                bencher.iter(|| view.search(black_box(&query), 8, 0.8, sketched_above));
            });
        }
    }
    group.finish();
}

// Instead of criterion's two macros, whose functions are public and carry no documentation.
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hash(&mut criterion);
    find(&mut criterion);
    search(&mut criterion);
    criterion.final_summary();
}
