"""Pictures: learning curves, their style, and boxes with arrows."""
