"""Types and classes as text, the same in every process, without running their code."""
