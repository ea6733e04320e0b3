"""A data set and a config become a run: the loss, the step, the loop, checkpoints, metrics."""
