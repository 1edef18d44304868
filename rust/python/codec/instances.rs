//! Pydantic objects and `str` subclasses, made without validation and without running any
//! Python code: what `model_construct` and `str.__new__` do, at a tenth of their time.
//!
//! The only `unsafe` of the border is here, in `schema::copy_of`, `gil_cell.rs` and `dict_entries.rs`: mostly
//! calls of the stable C API.

use crate::python::runtime::interned::intern;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyTuple, PyType};
use pyo3::{PyTypeInfo, ffi};

/// Sets the four attributes that are all of a Pydantic object's state.
pub struct State {
    fields: Setter,
    set: Setter,
    extra: Setter,
    private: Setter,
}

/// A data descriptor of `BaseModel` and its `__set__`, found once: `object.__setattr__` would look
/// it up along the class's bases each time, and `BaseModel.__setattr__` would validate.
struct Setter {
    descriptor: Py<PyAny>,
    set: ffi::descrsetfunc,
}

impl Setter {
    fn load(model: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let descriptor = model.getattr("__dict__")?.get_item(name)?;
        // SAFETY: a type and a slot number that its documentation allows for this function; the
        // slot holds null or a function of the type `descrsetfunc`, which an Option of it mirrors.
        let set: Option<ffi::descrsetfunc> = unsafe {
            let slot = ffi::PyType_GetSlot(descriptor.get_type_ptr(), ffi::Py_tp_descr_set);
            std::mem::transmute(slot)
        };
        let set = set.ok_or_else(|| PyTypeError::new_err("not a data descriptor"))?;
        Ok(Self { descriptor: descriptor.unbind(), set })
    }

    fn set(&self, object: &Bound<'_, PyAny>, value: *mut ffi::PyObject) -> PyResult<()> {
        // SAFETY: `__set__` of a live descriptor with two live objects, none of which it steals. It
        // checks by itself that `object` is an instance of the class that it belongs to.
        let status = unsafe { (self.set)(self.descriptor.as_ptr(), object.as_ptr(), value) };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(object.py())) }
    }
}

impl State {
    /// Finds the descriptors of the installed Pydantic.
    pub fn load(py: Python<'_>) -> PyResult<Self> {
        let model = py.import("pydantic")?.getattr("BaseModel")?;
        Ok(Self {
            fields: Setter::load(&model, "__dict__")?,
            set: Setter::load(&model, "__pydantic_fields_set__")?,
            extra: Setter::load(&model, "__pydantic_extra__")?,
            private: Setter::load(&model, "__pydantic_private__")?,
        })
    }

    /// The fields of a Pydantic object: the dict itself, past whatever its class makes of it.
    pub fn fields_of<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let descriptor = self.fields.descriptor.bind(object.py());
        let fields = descriptor.call_method1(intern!(object.py(), "__get__"), (object,))?;
        Ok(fields.cast_into::<PyDict>()?)
    }

    /// A new object of a Pydantic class, in exactly this state.
    pub fn instance<'py>(
        &self,
        class: &Bound<'py, PyType>,
        fields: &Bound<'py, PyDict>,
        set: &Bound<'py, PySet>,
        extra: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        // SAFETY: a Pydantic class is a plain Python class, whose instances PyType_GenericAlloc
        // makes (`object.__new__` calls it). Null means that an exception is set.
        let object = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyType_GenericAlloc(class.as_type_ptr(), 0))?
        };
        self.fields.set(&object, fields.as_ptr())?;
        self.set.set(&object, set.as_ptr())?;
        self.extra.set(&object, extra.as_ptr())?;
        self.private.set(&object, py.None().as_ptr())?;
        Ok(object)
    }
}

/// `str.__new__(class, text)`: an instance of a subclass of `str`.
pub fn str_instance<'py>(
    class: &Bound<'py, PyType>,
    text: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let arguments = PyTuple::new(py, [text])?;
    // SAFETY: `str` has a `tp_new` of the type `newfunc`; it takes a subclass of `str`, a tuple
    // and no keywords, and returns a new reference or null with an exception set.
    unsafe {
        let slot = ffi::PyType_GetSlot(PyString::type_object_raw(py), ffi::Py_tp_new);
        let new: Option<ffi::newfunc> = std::mem::transmute(slot);
        let new = new.ok_or_else(|| PyTypeError::new_err("str cannot be made"))?;
        let object = new(class.as_type_ptr(), arguments.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, object)
    }
}
