"""How rows, moments and recorded text are said to people: one way, for terminals, pages and messages."""
