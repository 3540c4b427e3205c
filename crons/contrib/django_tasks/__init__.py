"""Django's Tasks framework: jobs run by the workers of any of its backends."""
