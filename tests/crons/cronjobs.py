"""Functions that the tests' CRONJOBS lines name."""

calls: list[tuple[object, ...]] = []


def beat():
    calls.append(("beat",))


def load(*regions, **options):
    calls.append(("load", *regions, options))


def fail():
    raise ValueError("no")


def yields():
    yield


number = 5
