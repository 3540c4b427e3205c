"""Breaking changes of the API: none that nobody has meant, of the schema that its users have."""

from pathlib import Path

import pytest
from graphql import build_schema, find_breaking_changes

ROOT = Path(__file__).parents[2]
NOW = (ROOT / "schema.graphql").read_text()
# What the users of the API have; docs/adr/0049 says when it is replaced.
RELEASED = (Path(__file__).parent / "released.graphql").read_text()
# What graphql-core says of a break that is meant → why it is, and what its users do.
ACCEPTED: dict[str, str] = {}


def breaks(before: str, after: str) -> list[str]:
    return sorted(each.description for each in find_breaking_changes(build_schema(before), build_schema(after)))


def test_no_break_but_those_accepted():
    assert breaks(RELEASED, NOW) == sorted(ACCEPTED), "CONTRIBUTING.md says how a break is accepted"
    assert all(ACCEPTED.values())


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        ("  createCustomer(input: CreateCustomerInput!)", "  makeCustomer(input: CreateCustomerInput!)", 1),
        ("  createCustomer(input: CreateCustomerInput!)", "  createCustomer(input: CreateCustomerInput!, x: Int!)", 1),
        ("  createCustomer(input: CreateCustomerInput!)", "  createCustomer(input: CreateCustomerInput!, x: Int)", 0),
        ("  createdAt: DateTime!\n", "  createdAt: DateTime\n", 1),
        ("  CANCELLED\n", "", 1),
    ],
)
def test_a_break_is_found(old, new, count):
    """What its users have written fails, or reads what it cannot; more than there was breaks nothing."""
    assert old in NOW

    assert len(breaks(NOW, NOW.replace(old, new, 1))) == count
