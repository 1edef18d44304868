//! The index by example: what it finds, and what makes room.

use super::{Id, VectorIndex};
use crate::vectors::search::SKETCHED_ABOVE;
use crate::vectors::{Packed, pack};

fn id(number: u8) -> Id {
    [number; 32]
}

fn packed(values: &[f64]) -> Packed {
    Packed::read(&pack(values).expect("has a direction")).expect("was packed")
}

fn found(index: &VectorIndex, partition: u8, values: &[f64], limit: usize, least: f64) -> Vec<u8> {
    let view = index.view(&id(partition));
    let found = view.map(|it| it.search(&packed(values), limit, least, SKETCHED_ABOVE));
    found.unwrap_or_default().iter().map(|it| it.key[0]).collect()
}

#[test]
fn the_nearest_come_first_and_equal_ones_by_age() {
    let mut index = VectorIndex::new(usize::MAX);
    for (key, values) in
        [(1, [1.0, 0.0]), (2, [1.0, 1.0]), (3, [-1.0, 0.0]), (4, [2.0, 0.0]), (5, [0.0, 1.0])]
    {
        assert!(index.add(&id(0), &id(key), "q", &packed(&values)));
    }
    assert_eq!(found(&index, 0, &[1.0, 0.0], 9, -1.0), [4, 1, 2, 5, 3]);
    assert_eq!(found(&index, 0, &[1.0, 0.0], 9, 0.5), [4, 1, 2]);
    assert_eq!(found(&index, 0, &[1.0, 0.0], 1, 0.5), [4]);
    assert!(found(&index, 0, &[1.0, 0.0], 0, 0.5).is_empty());
    assert!(found(&index, 0, &[1.0, 0.0], 9, f64::NAN).is_empty());
    assert!(found(&index, 9, &[1.0, 0.0], 9, -1.0).is_empty());
}

#[test]
fn a_vector_scores_exactly_1_with_itself() {
    for dimensions in [1, 3, 384, 1536] {
        let values: Vec<f64> = (0..dimensions).map(|at| f64::from(at * 37 % 101) - 41.0).collect();
        let mut index = VectorIndex::new(usize::MAX);
        index.add(&id(0), &id(1), "q", &packed(&values));
        assert_eq!(found(&index, 0, &values, 1, 1.0), [1], "{dimensions}");
    }
}

#[test]
fn a_vector_of_another_dimension_changes_and_finds_nothing() {
    let mut index = VectorIndex::new(usize::MAX);
    index.add(&id(0), &id(1), "q", &packed(&[1.0, 0.0]));
    assert!(!index.add(&id(0), &id(2), "q", &packed(&[1.0, 0.0, 0.0])));
    assert!(!index.add(&id(0), &id(1), "q", &packed(&[1.0])));
    assert!(found(&index, 0, &[1.0, 0.0, 0.0], 9, -1.0).is_empty());
    assert_eq!(found(&index, 0, &[1.0, 0.0], 9, -1.0), [1]);
    // An empty partition has no dimension.
    index.remove(&id(1));
    assert!(index.add(&id(0), &id(2), "q", &packed(&[1.0, 0.0, 0.0])));
}

#[test]
fn a_key_is_in_one_partition() {
    let mut index = VectorIndex::new(usize::MAX);
    index.add(&id(0), &id(1), "q", &packed(&[1.0]));
    index.add(&id(9), &id(1), "q", &packed(&[1.0]));
    assert_eq!((index.size(&id(0)), index.size(&id(9)), index.len()), (0, 1, 1));
    assert!(index.view(&id(0)).is_none());
}

#[test]
fn an_empty_index_has_no_bytes() {
    let mut index = VectorIndex::new(usize::MAX);
    for key in 0..100 {
        index.add(&id(key % 3), &id(key), "a question", &packed(&[1.0, f64::from(key)]));
    }
    for key in 0..50 {
        assert!(index.remove(&id(key)) && !index.remove(&id(key)));
    }
    assert_eq!(index.drop_partition(&id(0)).map(|it| it.len()), Some(17));
    assert!(index.drop_partition(&id(0)).is_none());
    assert_eq!(index.len(), 33);
    for key in 50..100 {
        index.remove(&id(key));
    }
    assert_eq!((index.len(), index.bytes(), index.is_empty()), (0, 0, true));
}

#[test]
fn the_largest_partition_makes_room() {
    let mut index = VectorIndex::new(20_000);
    for key in 0..4 {
        index.add(&id(1), &id(key), "q", &packed(&[1.0, 2.0]));
    }
    for key in 100..250 {
        assert!(index.add(&id(2), &id(key), "q", &packed(&[1.0, 2.0])));
        assert!(index.bytes() <= 20_000);
    }
    assert_eq!(index.size(&id(1)), 4);
    let kept: Vec<u8> = (100..250).filter(|key| index.contains(&id(*key))).collect();
    let first = *kept.first().expect("some");
    assert!(first > 100, "none had to go");
    assert_eq!(kept, (first..250).collect::<Vec<_>>());
}

#[test]
fn what_is_too_large_for_the_bound_is_not_kept() {
    let mut index = VectorIndex::new(5_000);
    assert!(index.add(&id(1), &id(1), "q", &packed(&[1.0])));
    assert!(!index.add(&id(2), &id(2), &"q".repeat(5_000), &packed(&[1.0])));
    assert!(index.contains(&id(1)));
    assert!(!index.add(&id(1), &id(1), &"q".repeat(5_000), &packed(&[1.0])));
    assert_eq!((index.len(), index.bytes()), (0, 0));
}

#[test]
fn a_view_does_not_change() {
    let mut index = VectorIndex::new(usize::MAX);
    for key in 0..10 {
        index.add(&id(0), &id(key), "q", &packed(&[1.0, f64::from(key)]));
    }
    let view = index.view(&id(0)).expect("there");
    for key in 0..9 {
        index.remove(&id(key));
    }
    index.add(&id(0), &id(77), "q", &packed(&[1.0, 0.0]));
    let keys: Vec<u8> = view
        .search(&packed(&[1.0, 0.0]), 99, -1.0, SKETCHED_ABOVE)
        .iter()
        .map(|it| it.key[0])
        .collect();
    assert_eq!(keys, (0..10).collect::<Vec<u8>>());
    let _ = index.take_all();
    assert_eq!(view.len(), 10);
    assert_eq!((index.len(), index.bytes()), (0, 0));
}
