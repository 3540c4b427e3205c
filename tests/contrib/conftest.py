"""What the tests of another system's folder share with those of the core: rows, the clock, a project to drive."""

from tests.acceptance.conftest import site
from tests.crons.conftest import clean_registry, declared_elsewhere, empty_registry, instance, led, make_entry

__all__ = ["clean_registry", "declared_elsewhere", "empty_registry", "instance", "led", "make_entry", "site"]
