"""From a data set and a config to a run: the loss, the step, the loop, checkpoints, metrics."""
