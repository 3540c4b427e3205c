"""Reports of each day and week, stored as figures, and the mails that carry them and remind of orders."""
