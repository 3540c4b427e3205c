"""Outgoing webhooks: what happens to orders and stock is posted, signed, to the customers of the API that ask."""
