"""From a log to batches: vocabulary, event store, histories, negatives, loader. Numpy only; never imports models."""
