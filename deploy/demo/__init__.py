"""What only the demo has: a shop's past, and something to break; nothing of it is installed, or runs elsewhere."""
