"""One HTML page of what a cache has done."""
