//! LangChain's `dumps` of a list of messages, straight from the objects, to the same bytes.
//!
//! `langchain_core.load.dumps` builds a tree of dicts (`Serializable.to_json`) and hands it to
//! `json.dumps`; what is here writes what would come out. Exact types only. Whatever it does not
//! know for certain is [`UNKNOWN`], and the whole list goes to LangChain's own function.

use crate::codec::DEPTH_MAX;
use crate::codec::push_string;
use crate::python::codec::schema::{Class, Default, Field, Schema};
use crate::python::runtime::dict_entries::{Changed, Entries};
use crate::python::runtime::interned::intern;
use crate::python::runtime::stack::Floor;
use crate::python::runtime::text::bytes_of;
use pyo3::exceptions::PyException;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{PyTypeInfo, prelude::*};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// See `_core.pyi`.
#[pyclass(frozen, module = "llmemo._core")]
pub struct Dumps {
    own: Py<PyAny>,
    escapes: bool,
    is_stopped: AtomicBool,
    handled: AtomicU64,
    fallbacks: AtomicU64,
}

#[pymethods]
impl Dumps {
    #[new]
    #[pyo3(signature = (own, *, escapes))]
    fn new(own: Py<PyAny>, escapes: bool) -> Self {
        Self {
            own,
            escapes,
            is_stopped: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
        }
    }

    #[pyo3(signature = (obj, **kwargs))]
    fn __call__<'py>(
        &self,
        obj: &Bound<'py, PyAny>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !self.is_stopped.load(Relaxed) {
            if kwargs.is_none_or(PyDictMethods::is_empty)
                && let Ok(list) = obj.cast_exact::<PyList>()
                && let Some(text) = dumps(list, self.escapes)?
            {
                self.handled.fetch_add(1, Relaxed);
                return Ok(text.into_any());
            }
            self.fallbacks.fetch_add(1, Relaxed);
        }
        self.own.bind(obj.py()).call((obj,), kwargs)
    }

    fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    #[getter]
    fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    #[getter]
    fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Relaxed)
    }
}

/// What LangChain makes of the list, if all that is in it is known.
fn dumps<'py>(list: &Bound<'py, PyList>, escapes: bool) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = list.py();
    let (schema, langchain) = (Schema::get(py)?, LangChain::get(py)?);
    let (is_raw, out, floor) = (false, Vec::new(), Floor::here());
    let mut writer = Writer { py, schema, langchain, escapes, is_raw, out, floor };
    match writer.put(list.as_any(), 0) {
        Ok(()) => PyString::from_bytes(py, &writer.out).map(Some),
        // A KeyboardInterrupt, say, that came while a `__repr__` ran, is nobody's to swallow.
        Err(Stop(Some(error))) if !error.is_instance_of::<PyException>(py) => Err(*error),
        Err(_) => Ok(None),
    }
}

/// Why writing ended: a Python exception, or (None) something that is not known. One word, so that
/// results travel in registers.
pub struct Stop(Option<Box<PyErr>>);

/// Something that is not known.
pub const UNKNOWN: Stop = Stop(None);

impl From<Changed> for Stop {
    fn from(_: Changed) -> Self {
        UNKNOWN
    }
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self(Some(Box::new(error)))
    }
}

/// What there is to know of the installed langchain-core beside the [`Schema`].
struct LangChain {
    /// By the number of the class; None for one that is not to be written here.
    heads: Vec<Option<Head>>,
    /// Types whose instances, of subclasses too, are not simply "not implemented".
    not_foreign: Py<PyTuple>,
    /// Types that a dict's key may have in JSON.
    keys: Py<PyTuple>,
    /// `to_json_not_implemented`: what is written for an object that JSON cannot say.
    not_implemented: Py<PyAny>,
}

/// How a class is written.
struct Head {
    /// From its opening brace to that of its fields.
    text: Vec<u8>,
    /// The fields that are always there (`lc_attributes`), by their places in the class.
    always: Vec<usize>,
}

static LANGCHAIN: PyOnceLock<LangChain> = PyOnceLock::new();

impl LangChain {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        LANGCHAIN.get_or_try_init(py, || Self::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<Self> {
        let schema = Schema::get(py)?;
        let module = py.import("langchain_core.load.serializable")?;
        let keys = (PyString::type_object(py), PyInt::type_object(py), PyFloat::type_object(py));
        let containers =
            (PyDict::type_object(py), PyList::type_object(py), PyTuple::type_object(py));
        let serializable = module.getattr("Serializable")?;
        let heads = (0..=u8::MAX)
            .map(|number| schema.class(number).map_or(Ok(None), |class| Head::load(py, class)));
        Ok(Self {
            heads: heads.collect::<PyResult<_>>()?,
            not_foreign: (serializable, containers, &keys).into_pyobject(py)?.unbind(),
            keys: keys.into_pyobject(py)?.unbind(),
            not_implemented: module.getattr("to_json_not_implemented")?.unbind(),
        })
    }
}

impl Head {
    fn load(py: Python<'_>, class: &Class) -> PyResult<Option<Self>> {
        let python = class.python.bind(py);
        let sample = python.call_method0("model_construct")?;
        for field in python.getattr("model_fields")?.call_method0("values")?.try_iter()? {
            if field?.getattr("exclude")?.is_truthy()? {
                return Ok(None);
            }
        }
        if sample.getattr("lc_secrets")?.is_truthy()?
            || !python.call_method0("is_lc_serializable")?.is_truthy()?
        {
            return Ok(None);
        }
        let mut text = br#"{"lc": 1, "type": "constructor", "id": ["#.to_vec();
        for (at, part) in python.call_method0("lc_id")?.try_iter()?.enumerate() {
            if at > 0 {
                text.extend_from_slice(b", ");
            }
            push_string(&mut text, &bytes_of(part?.cast::<PyString>()?)?);
        }
        text.extend_from_slice(br#"], "kwargs": {"#);
        let mut always = Vec::new();
        for name in sample.getattr("lc_attributes")?.try_iter()? {
            let name = name?;
            let is_it = |field: &Field| field.name.bind(py).as_any().eq(&name).unwrap_or(false);
            let Some(at) = class.fields.iter().position(is_it) else { return Ok(None) };
            always.push(at);
        }
        // What was written is kept in 64 bits.
        Ok((class.fields.len() <= 64).then_some(Self { text, always }))
    }
}

struct Writer<'s, 'py> {
    py: Python<'py>,
    schema: &'s Schema,
    langchain: &'s LangChain,
    /// Whether dicts that look like LangChain's own are marked as plain ones (core 1.2.5 and on).
    escapes: bool,
    /// Inside of what goes to `json.dumps` as it is.
    is_raw: bool,
    out: Vec<u8>,
    floor: Floor,
}

impl<'py> Writer<'_, 'py> {
    fn put(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Stop> {
        // Circular structures end here: LangChain says what it thinks of them.
        if depth > DEPTH_MAX || self.floor.is_near() {
            return Err(UNKNOWN);
        }
        if let Ok(text) = any.cast_exact::<PyString>() {
            self.put_text(text)?;
        } else if any.is_none() {
            self.push(b"null");
        } else if let Ok(dict) = any.cast_exact::<PyDict>() {
            self.put_dict(dict, depth)?;
        } else if let Ok(list) = any.cast_exact::<PyList>() {
            self.put_items(list.iter(), depth)?;
        } else if let Ok(boolean) = any.cast_exact::<PyBool>() {
            self.push(if boolean.is_true() { b"true" } else { b"false" });
        } else if let Ok(int) = any.cast_exact::<PyInt>() {
            self.put_int(int)?;
        } else if let Ok(float) = any.cast_exact::<PyFloat>() {
            self.put_float(float)?;
        } else if let Ok(tuple) = any.cast_exact::<PyTuple>() {
            self.put_items(tuple.iter(), depth)?;
        } else if any.get_type().is(&self.schema.text_accessor) {
            self.put_text(any.cast().map_err(PyErr::from)?)?;
        } else if self.is_raw {
            return Err(UNKNOWN);
        } else if let Some(class) = self.schema.class_of(any) {
            self.put_object(any, class, depth)?;
        } else if any.is_instance(self.langchain.not_foreign.bind(self.py))? {
            return Err(UNKNOWN);
        } else {
            self.put_not_implemented(any, depth)?;
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn put_text(&mut self, text: &Bound<'py, PyString>) -> Result<(), Stop> {
        push_string(&mut self.out, &bytes_of(text)?);
        Ok(())
    }

    fn put_int(&mut self, int: &Bound<'py, PyInt>) -> Result<(), Stop> {
        if let Ok(small) = int.extract::<i64>() {
            // A Vec takes everything.
            let _ = write!(self.out, "{small}");
        } else {
            // Fails beyond 4,300 digits, as `json.dumps` does.
            let digits = int.repr()?;
            self.push(&bytes_of(&digits)?);
        }
        Ok(())
    }

    fn put_float(&mut self, float: &Bound<'py, PyFloat>) -> Result<(), Stop> {
        let value = float.value();
        if value.is_finite() {
            let digits = float.repr()?;
            self.push(&bytes_of(&digits)?);
        } else if value.is_nan() {
            self.push(b"NaN");
        } else {
            self.push(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
        }
        Ok(())
    }

    fn put_items(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<(), Stop> {
        self.out.push(b'[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.push(b", ");
            }
            self.put(&item, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn put_dict(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Result<(), Stop> {
        if self.escapes && !self.is_raw && is_like_langchains(dict)? {
            self.push(br#"{"__lc_escaped__": "#);
            self.is_raw = true;
            self.put_dict(dict, depth)?;
            self.is_raw = false;
            self.out.push(b'}');
            return Ok(());
        }
        let start = self.out.len();
        self.out.push(b'{');
        for (at, entry) in Entries::of(dict).enumerate() {
            let (key, value) = entry?;
            if at > 0 {
                self.push(b", ");
            }
            if !self.put_key(&key)? {
                if self.is_raw || !self.escapes {
                    // `json.dumps` raises.
                    return Err(UNKNOWN);
                }
                self.out.truncate(start);
                return self.put_not_implemented(dict, depth);
            }
            self.push(b": ");
            self.put(&value, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// False for a key that JSON does not have.
    fn put_key(&mut self, key: &Bound<'py, PyAny>) -> Result<bool, Stop> {
        if key.is_exact_instance_of::<PyString>() || key.get_type().is(&self.schema.text_accessor) {
            self.put_text(key.cast().map_err(PyErr::from)?)?;
            return Ok(true);
        }
        self.out.push(b'"');
        if key.is_none() {
            self.push(b"null");
        } else if let Ok(boolean) = key.cast_exact::<PyBool>() {
            self.push(if boolean.is_true() { b"true" } else { b"false" });
        } else if let Ok(int) = key.cast_exact::<PyInt>() {
            self.put_int(int)?;
        } else if let Ok(float) = key.cast_exact::<PyFloat>() {
            self.put_float(float)?;
        } else if key.is_instance(self.langchain.keys.bind(self.py))? {
            return Err(UNKNOWN);
        } else {
            return Ok(false);
        }
        self.out.push(b'"');
        Ok(true)
    }

    /// What LangChain says of an object that JSON cannot: its type and its `repr`.
    fn put_not_implemented(&mut self, any: &Bound<'py, PyAny>, depth: usize) -> Result<(), Stop> {
        let says = self.langchain.not_implemented.bind(self.py).call1((any,))?;
        self.is_raw = true;
        self.put(&says, depth + 1)?;
        self.is_raw = false;
        Ok(())
    }

    /// `Serializable.to_json`: the fields that are useful, in the order in which the object has
    /// them, then those that are always there.
    fn put_object(
        &mut self,
        object: &Bound<'py, PyAny>,
        class: &Class,
        depth: usize,
    ) -> Result<(), Stop> {
        let langchain = self.langchain;
        let head = langchain.heads.get(usize::from(class.number)).and_then(Option::as_ref);
        let head = head.ok_or(UNKNOWN)?;
        let fields = object.getattr(intern!(self.py, "__dict__"))?;
        let fields = fields.cast_exact::<PyDict>().map_err(|_| UNKNOWN)?;
        self.check_extra(object, class)?;
        self.push(&head.text);
        let mut written = 0_u64;
        for (at, entry) in Entries::of(fields).enumerate() {
            let (name, value) = entry?;
            let name = name.cast_exact::<PyString>().map_err(|_| UNKNOWN)?;
            let Some(place) = self.place(class, name, at)? else { continue };
            if self.is_useful(&value, &class.fields[place])? {
                self.put_field(name, &value, written == 0, depth)?;
                written |= 1 << place;
            }
        }
        for place in &head.always {
            if written >> place & 1 == 0 {
                let name = class.fields[*place].name.bind(self.py);
                let value = fields.get_item(name)?.ok_or(UNKNOWN)?;
                self.put_field(name, &value, written == 0, depth)?;
                written |= 1 << place;
            }
        }
        self.push(b"}}");
        Ok(())
    }

    /// Extra attributes are never written. Should one have the name of a field, LangChain would
    /// mix the two up.
    fn check_extra(&self, object: &Bound<'py, PyAny>, class: &Class) -> Result<(), Stop> {
        let extra = object.getattr(intern!(self.py, "__pydantic_extra__"))?;
        if extra.is_none() {
            return Ok(());
        }
        for entry in Entries::of(extra.cast_exact::<PyDict>().map_err(|_| UNKNOWN)?) {
            if class.template.bind(self.py).contains(entry?.0)? {
                return Err(UNKNOWN);
            }
        }
        Ok(())
    }

    /// Where a field is in its class; mostly at the place that it has in the object.
    fn place(
        &self,
        class: &Class,
        name: &Bound<'py, PyString>,
        at: usize,
    ) -> Result<Option<usize>, Stop> {
        if class.fields.get(at).is_some_and(|field| field.name.is(name)) {
            return Ok(Some(at));
        }
        for (place, field) in class.fields.iter().enumerate() {
            if field.name.bind(self.py).as_any().eq(name)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// `langchain_core.load.serializable._is_field_useful`, for fields of the class.
    fn is_useful(&self, value: &Bound<'py, PyAny>, field: &Field) -> Result<bool, Stop> {
        if matches!(field.default, Default::Required) || value.is_truthy()? {
            return Ok(true);
        }
        match &field.default {
            Default::Required => Ok(true),
            Default::Shared(default) => Ok(default.bind(self.py).ne(value)?),
            Default::Factory(factory) => {
                let factory = factory.bind(self.py);
                let is_empty_one = factory.is(PyDict::type_object(self.py))
                    && value.is_instance_of::<PyDict>()
                    || factory.is(PyList::type_object(self.py)) && value.is_instance_of::<PyList>();
                // What it is compared with otherwise depends on the version of Pydantic.
                if is_empty_one { Ok(false) } else { Err(UNKNOWN) }
            }
        }
    }

    fn put_field(
        &mut self,
        name: &Bound<'py, PyString>,
        value: &Bound<'py, PyAny>,
        is_first: bool,
        depth: usize,
    ) -> Result<(), Stop> {
        if !is_first {
            self.push(b", ");
        }
        self.put_text(name)?;
        self.push(b": ");
        self.put(value, depth + 1)
    }
}

/// `langchain_core.load._validation._needs_escaping`.
fn is_like_langchains(dict: &Bound<'_, PyDict>) -> Result<bool, Stop> {
    let py = dict.py();
    if !dict.contains(intern!(py, "lc"))? {
        return Ok(dict.len() == 1 && dict.contains(intern!(py, "__lc_escaped__"))?);
    }
    // Some versions let what looks like a secret pass unmarked, in some places.
    let kind = dict.get_item(intern!(py, "type"))?;
    match kind {
        Some(kind) if kind.eq(intern!(py, "secret"))? => Err(UNKNOWN),
        _ => Ok(true),
    }
}
