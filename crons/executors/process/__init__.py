"""The executor process: every attempt in a process of its own, under a supervisor that ends it in time."""
