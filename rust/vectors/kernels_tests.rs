//! Whatever the processor has, the results are those of plain arithmetic.

use super::{distance_loop, distances, dot_loop, dots};
use crate::vectors::random_tests::Dice;

const ROWS: usize = 7;

#[test]
fn dot_products_are_equal_in_every_way() {
    let mut dice = Dice(7);
    for dimensions in [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 100, 383, 384, 385, 1536, 3072] {
        let query: Vec<i8> = (0..dimensions).map(|_| dice.code()).collect();
        let rows: Vec<i8> = (0..ROWS * dimensions).map(|_| dice.code()).collect();
        let wide: Vec<i16> = query.iter().copied().map(i16::from).collect();
        let (mut chosen, mut portable) = ([0; ROWS], [0; ROWS]);
        dots(&wide, &rows, &mut chosen);
        dot_loop(&wide, &rows, &mut portable);
        let plain: Vec<i64> = rows
            .chunks(dimensions)
            .map(|row| row.iter().zip(&query).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum())
            .collect();
        assert_eq!(chosen, portable, "{dimensions}");
        assert_eq!(chosen.map(i64::from).as_slice(), plain, "{dimensions}");
    }
}

#[test]
fn the_largest_dot_products_fit() {
    for (code, sum) in [(127, 1_057_014_015), (-127, -1_057_014_015)] {
        let (query, row) = (vec![127; 65_535], vec![code; 65_535]);
        let (mut chosen, mut portable) = ([0], [0]);
        dots(&query, &row, &mut chosen);
        dot_loop(&query, &row, &mut portable);
        assert_eq!((chosen, portable), ([sum], [sum]));
    }
}

#[test]
fn distances_are_equal_in_every_way() {
    let mut dice = Dice(8);
    for words in [1, 2, 3, 4, 5, 6, 7, 8, 9, 24, 1024] {
        let query: Vec<u64> = (0..words).map(|_| dice.next()).collect();
        let rows: Vec<u64> = (0..ROWS * words).map(|_| dice.next()).collect();
        let (mut chosen, mut portable) = ([0; ROWS], [0; ROWS]);
        distances(&query, &rows, &mut chosen);
        distance_loop(&query, &rows, &mut portable);
        let bit = |words: &[u64], at: usize| words[at / 64] >> (at % 64) & 1;
        let differs = |row: &[u64], at: usize| bit(row, at) != bit(&query, at);
        let plain: Vec<usize> = rows
            .chunks(words)
            .map(|row| (0..words * 64).filter(|at| differs(row, *at)).count())
            .collect();
        assert_eq!(chosen, portable, "{words}");
        assert_eq!(chosen.map(|it| it as usize).as_slice(), plain, "{words}");
    }
}
