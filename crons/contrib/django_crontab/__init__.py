"""Stands before django_crontab in INSTALLED_APPS: what its crontab lines fire goes through the ledger.

`manage.py crontab add`, `show` and `remove` stay the real package's; only `run` is ours.
"""
