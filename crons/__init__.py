"""Scheduled work for Django: declare a job once; every slot ends in one recorded verdict."""
