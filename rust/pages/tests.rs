//! B-trees made by hand, and what is none.

use super::{Source, announce_rows};
use std::collections::HashMap;

const SIZE: usize = 512;

/// Pages by number, and what was asked of them in which order.
#[derive(Default)]
struct File {
    pages: HashMap<u32, Vec<u8>>,
    log: Vec<(bool, u32)>,
}

impl Source for File {
    fn announce(&mut self, page: u32) {
        self.log.push((true, page));
    }

    fn read(&mut self, page: u32) -> Option<&[u8]> {
        self.log.push((false, page));
        self.pages.get(&page).map(Vec::as_slice)
    }
}

impl File {
    fn announced(&self) -> Vec<u32> {
        self.log.iter().filter(|(is_ahead, _)| *is_ahead).map(|(_, page)| *page).collect()
    }
}

fn page(kind: u8, right: u32, cells: &[Vec<u8>]) -> Vec<u8> {
    let mut page = vec![0; SIZE];
    let header = if kind < 8 { 12 } else { 8 };
    page[0] = kind;
    page[3..5].copy_from_slice(&u16::try_from(cells.len()).expect("few cells").to_be_bytes());
    if header == 12 {
        page[8..12].copy_from_slice(&right.to_be_bytes());
    }
    let mut end = SIZE;
    for (at, cell) in cells.iter().enumerate() {
        end -= cell.len();
        page[end..end + cell.len()].copy_from_slice(cell);
        let place = u16::try_from(end).expect("a small page").to_be_bytes();
        page[header + 2 * at..header + 2 * at + 2].copy_from_slice(&place);
    }
    page
}

fn varint(value: u16) -> Vec<u8> {
    let [high, low] = (value << 1).to_be_bytes();
    if high == 0 { vec![low >> 1] } else { vec![0x80 | high, low >> 1] }
}

/// A record of a key of 32 bytes and a row of two.
fn entry(left: Option<u32>, key: u8, row: u16) -> Vec<u8> {
    let mut cell = left.map_or_else(Vec::new, |page| page.to_be_bytes().to_vec());
    cell.extend([37, 3, 76, 2]);
    cell.extend([key; 32]);
    cell.extend(row.to_be_bytes());
    cell
}

fn row(left: u32, number: u16) -> Vec<u8> {
    [left.to_be_bytes().to_vec(), varint(number)].concat()
}

/// Index: 10 over 11 (keys 1, 2), 4, 12 (keys 5, 6), 8, 13 (key 9). Table: 20 over 21 and 22, these
/// over 31 to 35.
fn file() -> File {
    let leaf = |keys: &[u8]| {
        let cells: Vec<_> =
            keys.iter().map(|&key| entry(None, key, u16::from(key) * 100)).collect();
        page(10, 0, &cells)
    };
    let pages = HashMap::from([
        (10, page(2, 13, &[entry(Some(11), 4, 400), entry(Some(12), 8, 800)])),
        (11, leaf(&[1, 2])),
        (12, leaf(&[5, 6])),
        (13, leaf(&[9])),
        (20, page(5, 22, &[row(21, 500)])),
        (21, page(5, 33, &[row(31, 100), row(32, 300)])),
        (22, page(5, 35, &[row(34, 800)])),
        (31, page(13, 0, &[])),
        (32, page(13, 0, &[])),
        (33, page(13, 0, &[])),
        (34, page(13, 0, &[])),
        (35, page(13, 0, &[])),
    ]);
    File { pages, ..File::default() }
}

fn announced(mut file: File, keys: &[u8]) -> Vec<u32> {
    let keys: Vec<_> = keys.iter().map(|&key| [key; 32]).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    announce_rows(&mut file, 10, 20, &keys);
    file.announced()
}

#[test]
fn each_row_is_found_by_way_of_its_own_pages() {
    for (key, pages) in [
        (1, vec![10, 11, 20, 21, 31]),
        (2, vec![10, 11, 20, 21, 32]),
        // SQLite looks on its left first.
        (4, vec![10, 11, 20, 21, 33]),
        (5, vec![10, 12, 20, 21, 33]),
        (6, vec![10, 12, 20, 22, 34]),
        (8, vec![10, 12, 20, 22, 34]),
        (9, vec![10, 13, 20, 22, 35]),
    ] {
        assert_eq!(announced(file(), &[key]), pages, "key {key}");
    }
}

#[test]
fn what_is_not_there_leads_to_no_table() {
    for (key, leaf) in [(0, 11), (3, 11), (7, 12), (10, 13)] {
        assert_eq!(announced(file(), &[key]), [10, leaf, 20], "key {key}");
    }
}

#[test]
fn a_level_is_announced_before_it_is_read_and_the_last_one_is_not_read() {
    let mut file = file();
    let keys = [[1; 32], [6; 32], [9; 32]];
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    announce_rows(&mut file, 10, 20, &keys);
    let ahead = |page| (true, page);
    let read = |page| (false, page);
    let log = [
        vec![ahead(10), read(10)],
        vec![ahead(11), ahead(12), ahead(13), read(11), read(12), read(13)],
        vec![ahead(20), read(20)],
        vec![ahead(21), ahead(22), read(21), read(22)],
        // The first tells what they all are.
        vec![ahead(31), ahead(34), ahead(35), read(31)],
    ];
    assert_eq!(file.log, log.concat());
}

#[test]
fn a_circle_and_pages_that_are_not_there_end() {
    let mut circle = file();
    circle.pages.insert(10, page(2, 10, &[]));
    assert!(announced(circle, &[1]).len() < 50);
    let mut gone = file();
    gone.pages.remove(&11);
    assert_eq!(announced(gone, &[1, 9]), [10, 11, 13, 20, 22, 35]);
}

#[test]
fn any_bytes_are_taken_for_what_they_are() {
    // Each byte of each page is set to each of some values: no panic, and an end.
    let whole = file();
    for (&number, content) in &whole.pages {
        for at in 0..SIZE {
            for value in [0, 5, 0x80, 0xff] {
                let mut content = content.clone();
                content[at] = value;
                let mut file = file();
                file.pages.insert(number, content);
                assert!(announced(file, &[1, 5, 9]).len() < 100);
            }
        }
        for size in 0..20 {
            let mut file = file();
            file.pages.insert(number, content[..size].to_vec());
            assert!(announced(file, &[1, 5, 9]).len() < 100);
        }
    }
}
