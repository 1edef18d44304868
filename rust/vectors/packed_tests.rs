//! Packing: the direction survives, and what has none is refused.

use super::{DIMENSIONS_MAX, Packed, pack, sketch_words};

fn read(values: &[f64]) -> Packed {
    Packed::read(&pack(values).expect("has a direction")).expect("was packed")
}

#[test]
fn the_largest_dimension_becomes_127_whatever_the_length() {
    for scale in [1e-320, 1e-30, 1.0, 3.5, 1e300] {
        assert_eq!(read(&[1.0 * scale, -2.0 * scale, 0.0]).codes(), [64, -127, 0], "{scale}");
    }
}

#[test]
fn the_layout_is_as_documented() {
    assert_eq!(pack(&[1.0, -1.0, 0.5]), Some(vec![3, 0, 127, 129, 64]));
}

#[test]
fn a_vector_without_a_direction_is_not_packed() {
    for values in [
        &[] as &[f64],
        &[0.0, -0.0],
        &[1.0, f64::NAN],
        &[f64::INFINITY, 1.0],
        &[1.0, f64::NEG_INFINITY],
    ] {
        assert_eq!(pack(values), None, "{values:?}");
    }
}

#[test]
fn as_many_dimensions_as_the_layout_can_tell_are_packed() {
    let packed = read(&vec![1.0; DIMENSIONS_MAX]);
    assert_eq!(packed.norm(), 127 * 127 * 65_535);
    assert_eq!(pack(&vec![1.0; DIMENSIONS_MAX + 1]), None);
}

#[test]
fn bytes_that_packing_cannot_have_made_are_not_read() {
    for bytes in [
        &[] as &[u8],
        &[1],
        &[0, 0],
        &[2, 0, 127],
        &[1, 0, 127, 127],
        &[2, 0, 0, 0],
        &[2, 0, 127, 128],
    ] {
        assert_eq!(Packed::read(bytes), None, "{bytes:?}");
    }
}

#[test]
fn a_sketch_has_the_bit_of_each_positive_dimension() {
    let mut values = vec![-1.0; 70];
    for at in [0, 3, 63, 64, 69] {
        values[at] = 1.0;
    }
    values[5] = 0.0;
    let sketch: Vec<u64> = read(&values).sketch().collect();
    assert_eq!(sketch, [1 | 1 << 3 | 1 << 63, 1 | 1 << 5]);
    assert_eq!(sketch_words(70), 2);
}
