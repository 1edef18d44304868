//! The index by example: what it finds, and what makes room.

use super::{Id, New, VectorIndex};
use crate::vectors::search::SKETCHED_ABOVE;
use crate::vectors::{Packed, pack};

fn id(number: u8) -> Id {
    [number; 32]
}

fn packed(values: &[f64]) -> Packed {
    Packed::read(&pack(values).expect("has a direction")).expect("was packed")
}

/// Adds a vector for the tenant of the partition's number.
fn add(index: &mut VectorIndex, partition: u8, key: u8, question: &str, values: &[f64]) -> bool {
    add_for(partition, index, partition, key, question, values)
}

fn add_for(
    tenant: u8,
    index: &mut VectorIndex,
    partition: u8,
    key: u8,
    question: &str,
    values: &[f64],
) -> bool {
    let vector = packed(values);
    let (tenant, partition, key) = ([tenant; 16], id(partition), id(key));
    index.add(&New { tenant, partition, key, question, vector })
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
        assert!(add(&mut index, 0, key, "q", &values));
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
        add(&mut index, 0, 1, "q", &values);
        assert_eq!(found(&index, 0, &values, 1, 1.0), [1], "{dimensions}");
    }
}

#[test]
fn a_vector_of_another_dimension_changes_and_finds_nothing() {
    let mut index = VectorIndex::new(usize::MAX);
    add(&mut index, 0, 1, "q", &[1.0, 0.0]);
    assert!(!add(&mut index, 0, 2, "q", &[1.0, 0.0, 0.0]));
    assert!(!add(&mut index, 0, 1, "q", &[1.0]));
    assert!(found(&index, 0, &[1.0, 0.0, 0.0], 9, -1.0).is_empty());
    assert_eq!(found(&index, 0, &[1.0, 0.0], 9, -1.0), [1]);
    // An empty partition has no dimension.
    index.remove(&id(1));
    assert!(add(&mut index, 0, 2, "q", &[1.0, 0.0, 0.0]));
}

#[test]
fn a_key_is_in_one_partition() {
    let mut index = VectorIndex::new(usize::MAX);
    add(&mut index, 0, 1, "q", &[1.0]);
    add(&mut index, 9, 1, "q", &[1.0]);
    assert_eq!((index.size(&id(0)), index.size(&id(9)), index.len()), (0, 1, 1));
    assert!(index.view(&id(0)).is_none());
}

#[test]
fn a_partition_is_one_tenants() {
    let mut index = VectorIndex::new(usize::MAX);
    assert!(add_for(1, &mut index, 0, 1, "q", &[1.0]));
    assert!(!add_for(2, &mut index, 0, 2, "q", &[1.0]));
    assert!(!add_for(2, &mut index, 0, 1, "q", &[1.0]));
    assert_eq!(found(&index, 0, &[1.0], 9, -1.0), [1]);
    // An empty partition is nobody's.
    index.remove(&id(1));
    assert!(add_for(2, &mut index, 0, 2, "q", &[1.0]));
}

#[test]
fn an_empty_index_has_no_bytes() {
    let mut index = VectorIndex::new(usize::MAX);
    for key in 0..100 {
        add_for(key % 2, &mut index, key % 6, key, "a question", &[1.0, f64::from(key)]);
    }
    for key in 0..100 {
        assert!(index.remove(&id(key)) && !index.remove(&id(key)));
        assert_eq!(index.len(), 99 - usize::from(key));
    }
    assert_eq!((index.len(), index.bytes(), index.is_empty()), (0, 0, true));
}

#[test]
fn the_largest_tenant_makes_room() {
    let mut index = VectorIndex::new(20_000);
    for key in 0..4 {
        add_for(1, &mut index, 1, key, "q", &[1.0, 2.0]);
    }
    for key in 100..250 {
        assert!(add_for(2, &mut index, 2, key, "q", &[1.0, 2.0]));
        assert!(index.bytes() <= 20_000);
    }
    assert_eq!(index.size(&id(1)), 4);
    let kept: Vec<u8> = (100..250).filter(|key| index.contains(&id(*key))).collect();
    let first = *kept.first().expect("some");
    assert!(first > 100, "none had to go");
    assert_eq!(kept, (first..250).collect::<Vec<_>>());
}

#[test]
fn partitions_of_one_vector_take_no_room_of_another_tenant() {
    let mut index = VectorIndex::new(60_000);
    for key in 0..20 {
        assert!(add_for(1, &mut index, 1, key, "q", &[1.0, 2.0]));
    }
    assert!(index.bytes() < 30_000, "more than an equal share");
    for key in 20..250 {
        assert!(add_for(2, &mut index, key, key, "q", &[1.0, 2.0]));
    }
    assert_eq!(index.size(&id(1)), 20);
    let kept: Vec<u8> = (20..250).filter(|key| index.contains(&id(*key))).collect();
    let first = *kept.first().expect("some");
    assert!(first > 20, "none had to go");
    assert_eq!(kept, (first..250).collect::<Vec<_>>());
}

/// Loads vectors, the newest first, each in the direction of its key.
fn load(index: &mut VectorIndex, keys: impl Iterator<Item = u8>, age: u64) {
    for (key, age) in keys.zip((0..=age).rev()) {
        let vector = packed(&[1.0, f64::from(key)]);
        let (tenant, partition, key) = ([0; 16], id(0), id(key));
        index.add_aged(&New { tenant, partition, key, question: "q", vector }, age);
    }
}

#[test]
fn what_was_loaded_is_older_than_what_is_added_meanwhile() {
    let mut index = VectorIndex::new(10_000);
    let age = index.begin_load();
    assert!(add(&mut index, 0, 200, "q", &[1.0, 0.0]));
    load(&mut index, (0..50).rev(), age);
    // The last of them, which are the oldest, found no room.
    let kept: Vec<u8> = (0..=255).filter(|key| index.contains(&id(*key))).collect();
    let first = kept[0];
    assert!(first > 1 && first < 49, "{first}");
    assert_eq!(kept, (first..50).chain([200]).collect::<Vec<_>>());
}

#[test]
fn a_load_over_two_calls_is_in_order_even_if_all_was_removed_in_between() {
    let mut index = VectorIndex::new(usize::MAX);
    let age = index.begin_load();
    load(&mut index, [9, 8].into_iter(), age);
    let _ = index.take_all();
    add(&mut index, 0, 200, "q", &[1.0, 1.0]);
    load(&mut index, [1].into_iter(), age - 2);
    // Of equal scores the newest comes first.
    assert_eq!(found(&index, 0, &[1.0, 1.0], 9, -1.0), [200, 1]);
}

#[test]
fn what_is_too_large_for_the_bound_is_not_kept() {
    let mut index = VectorIndex::new(5_000);
    assert!(add(&mut index, 1, 1, "q", &[1.0]));
    assert!(!add(&mut index, 2, 2, &"q".repeat(5_000), &[1.0]));
    assert!(index.contains(&id(1)));
    assert!(!add(&mut index, 1, 1, &"q".repeat(5_000), &[1.0]));
    assert_eq!((index.len(), index.bytes()), (0, 0));
}

#[test]
fn a_view_does_not_change() {
    let mut index = VectorIndex::new(usize::MAX);
    for key in 0..10 {
        add(&mut index, 0, key, "q", &[1.0, f64::from(key)]);
    }
    let view = index.view(&id(0)).expect("there");
    for key in 0..9 {
        index.remove(&id(key));
    }
    add(&mut index, 0, 77, "q", &[1.0, 0.0]);
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
