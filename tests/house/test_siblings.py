"""No module of crons needs many others: one that imports a dozen cannot be read, or changed, by itself."""

from __future__ import annotations

from statistics import mean

from tests.house.siblings import modules, siblings

MOST = 10
# Modules that import more, each with its reason. The list is exact: one that needs none any more must leave it.
EXCEPTIONS: dict[str, str] = {
    "crons.ledger": "a façade: each import is a part of the ledger that it hands on",
}


def test_no_module_imports_more_than_ten_siblings():
    """Import a package's façade from outside of it: it counts once for all that it hands on."""
    many = {name: sorted(siblings(name)) for name in modules() if len(siblings(name)) > MOST}

    assert {name: len(found) for name, found in many.items() if name not in EXCEPTIONS} == {}, many
    assert sorted(EXCEPTIONS.keys() - many.keys()) == []


def test_most_modules_import_few():
    """It was 4.9 once; where this fails, look for a façade that is passed by, or a module that is none of its own."""
    assert mean(len(siblings(name)) for name in modules()) < 4.6


def test_what_a_package_hands_on_counts_once():
    """Else a façade would save nothing, and nobody would use it."""
    found = siblings("crons.contrib.django_cron.source")

    assert {name for name in found if name.startswith(("crons.ledger", "crons.jobs"))} == {"crons.ledger", "crons.jobs"}
