//! What the border needs of the interpreter: the GIL, the stack, clocks, texts, names and dicts.

pub(super) mod clock;
pub(super) mod dict_entries;
pub(super) mod gil_cell;
pub(super) mod interned;
pub(super) mod interrupts;
pub(super) mod long_work;
pub(super) mod stack;
pub(super) mod text;
