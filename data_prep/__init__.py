"""One recipe per public data set: raw files to an event store. No model code.

The recipes run in a clone of the repository, from its root (`python -m data_prep.amazon --help`); an installed dienjax
does not bring them.
"""
