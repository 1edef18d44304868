"""One private thread runs a store: operations, batches, time budget, circuit breaker, leases."""
