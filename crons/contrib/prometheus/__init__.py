"""Figures of the ledger for Prometheus, and whatever else reads its format."""
