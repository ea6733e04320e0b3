"""How raw values become ids without a vocabulary, which channel an event is in, and what its time gives."""
