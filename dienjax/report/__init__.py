"""What a person opens to see a model or a run."""
