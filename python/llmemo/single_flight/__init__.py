"""Within a process one caller computes an answer, and the others wait for it."""
