"""From a store to batches: event store, histories, negative sampling, loader. NumPy only; never imports models."""
