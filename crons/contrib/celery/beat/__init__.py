"""django-celery-beat: its rows as a target, and what a worker does when beat fires one."""
