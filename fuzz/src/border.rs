//! The decoder as Python sees it: an interpreter within this process, with llmemo's native module in it,
//! built like the fuzzer.

use crate::checks::value::KEY;
use crate::memory::peak_of;
use llmemo as _;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use pyo3::{ffi, prelude::*};

/// Reading a payload of 64 KiB may take so much memory (bytes).
const PEAK_MAX: usize = 16 * 1024 * 1024;

struct Border {
    decode: Py<PyAny>,
    encode: Py<PyAny>,
    damaged: Py<PyAny>,
    refused: Py<PyAny>,
}

static BORDER: PyOnceLock<Border> = PyOnceLock::new();

unsafe extern "C" {
    // Of llmemo, as any interpreter that loads it would call it.
    fn PyInit__core() -> *mut ffi::PyObject;
}

/// Starts Python. `langchain_core` and `llmemo` must be where it looks.
///
/// # Panics
/// If something is not there.
pub fn start() {
    // SAFETY: nothing else runs yet: no other thread reads the environment, and there is no interpreter.
    unsafe {
        // So that each object's memory is counted, which Python would take by the megabyte.
        std::env::set_var("PYTHONMALLOC", "malloc");
        ffi::PyImport_AppendInittab(c"_core".as_ptr(), Some(PyInit__core));
    }
    Python::initialize();
    Python::attach(|py| {
        let border = load(py).unwrap_or_else(|error| panic!("{error}"));
        let (_, peak) = peak_of(|| PyBytes::new(py, &vec![1; PEAK_MAX]));
        assert!(peak > 2 * PEAK_MAX, "Python's memory is not counted: {peak}");
        assert!(BORDER.set(py, border).is_ok());
    });
}

fn load(py: Python<'_>) -> PyResult<Border> {
    let core = py.import("_core")?;
    // What the package itself would import is this one.
    py.import("sys")?.getattr("modules")?.set_item("llmemo._core", &core)?;
    py.import("llmemo")?;
    let get = |name| PyResult::Ok(core.getattr(name)?.unbind());
    Ok(Border {
        decode: get("decode")?,
        encode: get("encode")?,
        damaged: get("ValueDamaged")?,
        refused: get("ValueRefused")?,
    })
}

/// Checks what becomes of one value.
///
/// # Panics
/// If something does not hold.
pub fn check(value: &[u8]) {
    Python::attach(|py| {
        let border = BORDER.get(py).expect("it was started");
        let key = PyBytes::new(py, &KEY.0);
        let decode = |value: &[u8]| border.decode.call1(py, (PyBytes::new(py, value), &key));
        let (read, peak) = peak_of(|| decode(value));
        assert!(peak < PEAK_MAX, "{peak} bytes");
        let answer = match read {
            Ok(answer) => answer,
            Err(error) if error.matches(py, &border.damaged).unwrap_or_default() => return,
            Err(error) => panic!("{error}"),
        };
        // What was read can be written, or is refused; and what was written can be read.
        match border.encode.call1(py, (&answer, &key)) {
            Ok(bytes) => {
                let bytes = bytes.extract::<&[u8]>(py).expect("bytes");
                decode(bytes).unwrap_or_else(|error| panic!("of what was written: {error}"));
            }
            Err(error) if error.matches(py, &border.refused).unwrap_or_default() => {}
            Err(error) => panic!("{error}"),
        }
    });
}
