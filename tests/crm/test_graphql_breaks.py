"""Breaking changes of the API: none that nobody has meant, of the schema that its users have."""

from pathlib import Path

import pytest
import strawberry
from graphql import (
    build_schema,
    find_breaking_changes,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_object_type,
    is_scalar_type,
    is_specified_scalar_type,
)

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


def deprecated(schema):
    """Give what is deprecated in *schema*, with the reason: fields, arguments, input fields and values."""
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        parts = dict(kind.values) if is_enum_type(kind) else {}
        if is_object_type(kind) or is_interface_type(kind) or is_input_object_type(kind):
            parts = dict(kind.fields)
        for name, part in list(parts.items()):
            parts |= {f"{name}({each})": argument for each, argument in (getattr(part, "args", None) or {}).items()}
        for name, part in parts.items():
            if part.deprecation_reason is not None:
                yield f"{kind.name}.{name}", part.deprecation_reason


def test_what_is_deprecated_breaks_nothing_and_says_what_to_use():
    """It stays until the release after next; its users read the reason in their tools."""
    old = "  totalCount: Int!\n"
    now = NOW.replace(old, '  totalCount: Int! @deprecated(reason: "Use pageInfo: counting reads every row.")\n')

    found = dict(deprecated(build_schema(now)))

    assert breaks(NOW, now) == []
    assert set(found.values()) == {"Use pageInfo: counting reads every row."}
    assert "CustomerConnection.totalCount" in found
    assert [name for name, reason in deprecated(build_schema(NOW)) if not reason.startswith("Use ")] == []


def test_schema_of_strawberry_keeps_what_is_deprecated():
    """The reason has to come from the code into schema.graphql."""

    @strawberry.type
    class Query:
        old: str = strawberry.field(default="", deprecation_reason="Use new.")
        new: str = ""

    assert dict(deprecated(build_schema(strawberry.Schema(Query).as_str()))) == {"Query.old": "Use new."}


def test_every_scalar_of_ours_says_what_specifies_it():
    scalars = {
        kind.name: kind.specified_by_url
        for kind in build_schema(NOW).type_map.values()
        if is_scalar_type(kind) and not is_specified_scalar_type(kind)
    }

    assert scalars == {
        "DateTime": "https://www.rfc-editor.org/rfc/rfc3339",
        "Decimal": "https://speleotrove.com/decimal/daconvs.html",
        "JSON": "https://ecma-international.org/wp-content/uploads/ECMA-404_2nd_edition_december_2017.pdf",
    }
