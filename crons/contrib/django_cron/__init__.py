"""Stands in for django-cron, which cannot be imported on Django 5.1 and later.

`from django_cron import CronJobBase, Schedule` keeps working, `manage.py runcrons` goes through the ledger,
and the classes of CRON_CLASSES are jobs like all others. Where the real package is installed, its classes win.
"""
