"""Functions that the tests' CRONJOBS lines name."""

import os

calls: list[tuple[object, ...]] = []


def beat():
    calls.append(("beat",))


def load(*regions, **options):
    calls.append(("load", *regions, options))


def shows():
    print(f"CRONS_TEST_KEY is {os.environ.get('CRONS_TEST_KEY')}")  # noqa: T201 (its output is looked at)


def fail():
    raise ValueError("no")


def yields():
    yield


number = 5
