"""Where attempts run: one contract (base), many implementations."""
