"""S11, which adapters stay in use: for now, one comparison with what a scope has already."""
