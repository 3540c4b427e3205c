"""Imports of customers: a CSV file is kept, checked, and made into customers by a job that may be killed anywhere."""
