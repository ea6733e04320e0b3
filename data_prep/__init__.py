"""One recipe per public data set: raw files to an event store. No model code."""
