"""One job that does next to nothing, and says when, and in what company of modules."""
