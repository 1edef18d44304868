//! What must hold of whatever the library is given to read.

pub mod canonical;
pub mod form;
pub mod value;
