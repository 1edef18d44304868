//! LangChain's `dumps`, written straight from the objects.

pub(super) mod writer;
