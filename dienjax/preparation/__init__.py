"""From a log to an event store: read, sort, split, number, write."""
