"""Pages: the overview and Django's admin, read by staff, operated by verbs with permissions."""
