//! The pages of an SQLite file that some rows are on, so that a disk can be asked for many at once.
//!
//! `SQLite` asks for one page after another. Here the B-trees are walked for all keys together: on each
//! level the pages are known before any of them is read. What is found is no more than a hint. The file
//! may be written to meanwhile, and newer pages may be in its WAL: so nothing is believed of a page,
//! and what does not look like one leads nowhere.
//!
//! Format: sqlite.org/fileformat.html, 1.5 and 1.6.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// Levels of a B-tree, at most: a file of 2^32 pages has fewer. Ends a walk in a circle.
const LEVELS: usize = 20;

const INDEX_INNER: u8 = 2;
const TABLE_INNER: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;

/// Bytes before the places of a page's cells.
const INNER: usize = 12;
const LEAF: usize = 8;

/// A file, as much as a walk needs of it.
pub trait Source {
    /// Asks for pages that will be read next, and does not wait for them.
    fn announce(&mut self, page: u32);

    /// Reads a page; waits for it. An error leads nowhere.
    fn read(&mut self, page: u32) -> Option<&[u8]>;
}

/// Where a page leads.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Page(u32),
    Row(i64),
    /// Both. `SQLite` looks for what is beside a row, too: it seeks what comes after all that is less.
    RowAndPage(i64, u32),
    /// This level has the rows themselves. No page of it has to be read.
    End,
    Nowhere,
}

/// Announces all pages on which the rows of these keys are, and those on the way there.
///
/// `index`, `table`: the first pages of an index on the key, and of its table.
pub fn announce_rows(source: &mut impl Source, index: u32, table: u32, keys: &[&[u8]]) {
    let rows = walk(source, index, keys.to_vec(), in_index);
    walk(source, table, rows, in_table);
}

fn walk<T: Copy>(
    source: &mut impl Source,
    root: u32,
    sought: Vec<T>,
    step: fn(&[u8], T) -> Step,
) -> Vec<i64> {
    let mut rows = Vec::new();
    let mut level = BTreeMap::from([(root, sought)]);
    for _ in 0..LEVELS {
        for &page in level.keys() {
            source.announce(page);
        }
        let mut next: BTreeMap<u32, Vec<T>> = BTreeMap::new();
        for (page, sought) in level {
            let Some(content) = source.read(page) else { continue };
            for one in sought {
                match step(content, one) {
                    Step::Page(child) => next.entry(child).or_default().push(one),
                    Step::Row(row) => rows.push(row),
                    Step::RowAndPage(row, child) => {
                        rows.push(row);
                        next.entry(child).or_default().push(one);
                    }
                    Step::End => return rows,
                    Step::Nowhere => {}
                }
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    rows
}

fn in_index(page: &[u8], sought: &[u8]) -> Step {
    let Some(&kind @ (INDEX_INNER | INDEX_LEAF)) = page.first() else { return Step::Nowhere };
    let (header, skipped) = if kind == INDEX_INNER { (INNER, 4) } else { (LEAF, 0) };
    let is_less = |cell: &[u8]| index_entry(cell.get(skipped..)?).map(|(key, _)| key < sought);
    let Some(at) = first_at_least(page, header, is_less) else { return Step::Nowhere };
    let row = cell(page, header, at)
        .and_then(|cell| index_entry(cell.get(skipped..)?))
        .and_then(|(key, row)| (key == sought).then_some(row));
    let page = if kind == INDEX_INNER { child(page, at) } else { None };
    match (row, page) {
        (Some(row), Some(page)) => Step::RowAndPage(row, page),
        (Some(row), None) => Step::Row(row),
        (None, Some(page)) => Step::Page(page),
        (None, None) => Step::Nowhere,
    }
}

fn in_table(page: &[u8], sought: i64) -> Step {
    match page.first() {
        Some(&TABLE_INNER) => {}
        Some(&TABLE_LEAF) => return Step::End,
        _ => return Step::Nowhere,
    }
    // A cell's own row is in the page on its left.
    let row = |cell: &[u8]| cell.get(4..).and_then(varint).map(|(row, _)| row.cast_signed());
    let at = first_at_least(page, INNER, |cell| row(cell).map(|row| row < sought));
    at.and_then(|at| child(page, at)).map_or(Step::Nowhere, Step::Page)
}

/// Number of the first cell that is not less than what is sought; the number of cells if there is none.
fn first_at_least(
    page: &[u8],
    header: usize,
    is_less: impl Fn(&[u8]) -> Option<bool>,
) -> Option<usize> {
    let (mut low, mut high) = (0, number(page, 3, 2)?);
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_less(cell(page, header, middle)?)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Some(low)
}

fn cell(page: &[u8], header: usize, at: usize) -> Option<&[u8]> {
    if at >= number(page, 3, 2)? {
        return None;
    }
    page.get(number(page, header + 2 * at, 2)?..)
}

/// The page on the left of a cell; on the right of all of them, if there is no such cell.
fn child(page: &[u8], at: usize) -> Option<u32> {
    let found = match cell(page, INNER, at) {
        Some(cell) => number(cell, 0, 4),
        None => number(page, 8, 4),
    };
    found.and_then(|page| u32::try_from(page).ok()).filter(|&page| page > 0)
}

/// A key and the number of its row, of a record that holds just these.
fn index_entry(cell: &[u8]) -> Option<(&[u8], i64)> {
    let (_, record) = varint(cell)?;
    let (header, types) = varint(record)?;
    let (key_type, types) = varint(types)?;
    let (row_type, _) = varint(types)?;
    // Blobs have even types from 12 on.
    let length = usize::try_from(key_type.checked_sub(12)?).ok()? / 2;
    let start = usize::try_from(header).ok()?;
    let end = start.checked_add(length)?;
    let row = match row_type {
        width @ 1..=4 => number(record, end, usize::try_from(width).ok()?)?,
        5 => number(record, end, 6)?,
        6 => number(record, end, 8)?,
        8 => 0,
        9 => 1,
        _ => return None,
    };
    Some((record.get(start..end)?, i64::try_from(row).ok()?))
}

/// The number in `width` bytes at this place, the highest byte first.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let digits = bytes.get(at..at.checked_add(width)?)?;
    Some(digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit)))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut sum = 0;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        if at == 8 {
            return Some((sum << 8 | u64::from(byte), &bytes[9..]));
        }
        sum = sum << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((sum, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests;
