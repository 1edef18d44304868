//! Dot products and distances of one vector with many rows.
//!
//! The loops are written once, in plain Rust, and compiled twice on x86-64: for every processor, and for
//! those with AVX2. Which of both runs is decided when it runs, since a wheel is compiled for the
//! oldest processor of its platform. On aarch64 NEON belongs to every processor. All ways compute in
//! whole numbers, so that their results are equal.

/// Compiles a loop for every processor, and for those with AVX2, and chooses at run time.
macro_rules! for_each_processor {
    ($(#[$doc:meta])* $name:ident, $loop:ident, $word:ty, $code:ty, $sum:ty) => {
        $(#[$doc])*
        pub fn $name(query: &[$word], rows: &[$code], sums: &mut [$sum]) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,popcnt")]
                fn with_avx2(query: &[$word], rows: &[$code], sums: &mut [$sum]) {
                    $loop(query, rows, sums);
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
                    // SAFETY: the processor has what the function was compiled for.
                    unsafe { with_avx2(query, rows, sums) };
                    return;
                }
            }
            $loop(query, rows, sums);
        }
    };
}

for_each_processor!(
    /// The dot product of a query with each row. Rows are as long as the query.
    dots, dot_loop, i16, i8, i32
);
for_each_processor!(
    /// In how many bits each row differs from a query. Rows are as long as the query.
    distances, distance_loop, u64, u64, u32
);

// The query is wider than the rows, so that only these have to be widened in the loop.
#[expect(clippy::inline_always, reason = "only inside another function it is compiled for AVX2")]
#[inline(always)]
fn dot_loop(query: &[i16], rows: &[i8], sums: &mut [i32]) {
    for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
        *sum = query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    }
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn distance_loop(query: &[u64], rows: &[u64], sums: &mut [u32]) {
    for (row, sum) in rows.chunks_exact(query.len()).zip(sums) {
        *sum = query.iter().zip(row).map(|(a, b)| (a ^ b).count_ones()).sum();
    }
}

#[cfg(test)]
#[path = "kernels_tests.rs"]
mod tests;
