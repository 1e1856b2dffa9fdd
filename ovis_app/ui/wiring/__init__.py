"""Which event calls which handler, and what it may change. Holds no logic."""
