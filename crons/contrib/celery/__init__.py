"""Celery: jobs run by its workers, fired by its beat."""
