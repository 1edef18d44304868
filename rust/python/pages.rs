//! The pages of an `SQLite` file in use: see [`crate::pages`]. Linux only; elsewhere nothing is done.

use pyo3::prelude::*;

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (file, *, page_bytes, index, table, keys))]
pub fn announce_rows(
    py: Python<'_>,
    file: i32,
    page_bytes: usize,
    index: u32,
    table: u32,
    keys: Vec<Vec<u8>>,
) {
    #[cfg(target_os = "linux")]
    py.detach(move || {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut source = linux::OpenFile::new(file, page_bytes);
        crate::pages::announce_rows(&mut source, index, table, &keys);
    });
    #[cfg(not(target_os = "linux"))]
    let _ = (py, file, page_bytes, index, table, keys);
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::pages::Source;

    /// Pages that are larger do not exist (sqlite.org/fileformat.html, 1.3).
    const LARGEST: usize = 65_536;

    /// A file that another part of the process has open, and that is not closed here.
    pub struct OpenFile {
        number: i32,
        page: Vec<u8>,
    }

    impl OpenFile {
        pub fn new(number: i32, page_bytes: usize) -> Self {
            Self { number, page: vec![0; page_bytes.clamp(1, LARGEST)] }
        }

        fn place(&self, page: u32) -> Option<libc::off_t> {
            let before = usize::try_from(page).ok()?.checked_sub(1)?;
            libc::off_t::try_from(before.checked_mul(self.page.len())?).ok()
        }
    }

    impl Source for OpenFile {
        fn announce(&mut self, page: u32) {
            let (Some(place), Ok(size)) =
                (self.place(page), libc::off_t::try_from(self.page.len()))
            else {
                return;
            };
            // SAFETY: only numbers are passed; of a file that is not open it returns an error.
            unsafe { libc::posix_fadvise(self.number, place, size, libc::POSIX_FADV_WILLNEED) };
        }

        fn read(&mut self, page: u32) -> Option<&[u8]> {
            let place = self.place(page)?;
            // SAFETY: the buffer is ours, and as large as is said.
            let size = unsafe {
                libc::pread(self.number, self.page.as_mut_ptr().cast(), self.page.len(), place)
            };
            self.page.get(..usize::try_from(size).ok()?)
        }
    }
}
