"""What an event store holds: checked, counted, described, drawn."""
