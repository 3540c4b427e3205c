"""Which processes there are on this machine, who is who, and what has outlived its supervisor."""
