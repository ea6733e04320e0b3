"""How raw values become ids without a vocabulary: lists, hashes and edges, the channel of an event, and its time."""
