"""Float64 numpy oracles: one loop per axis, one line per published equation, nothing shared with the package."""
