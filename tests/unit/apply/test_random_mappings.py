"""Random mappings: a difference that is mapped is the difference of what is mapped."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamd.apply.event.mapping import MappedType, mapped_type
from streamd.model import ChildTable, Difference, DocumentType, OldValues, Row
from streamd.settings import MappingSettings
from streamd.wire import describe
from tests.support.sites import mapping as example
from tests.support.sites.mapping import columns, doctype
from tests.unit.apply.mapped import difference

FIELDS, ROW_FIELDS = ("a", "b", "c", "d"), ("x", "y", "z")

VALUES = st.one_of(st.none(), st.integers(0, 2))


def field_mappings(here: tuple[str, ...], there: tuple[str, ...]) -> st.SearchStrategy[list[dict[str, Any]]]:
    each = st.fixed_dictionaries(
        {
            "local_fieldname": st.sampled_from(here),
            "remote_fieldname": st.one_of(st.none(), st.sampled_from(there)),
            "default_value": st.one_of(st.none(), st.integers(0, 2)),
        }
    )
    stated = each.filter(lambda field: field["remote_fieldname"] is not None or field["default_value"] is not None)
    return st.lists(stated, max_size=4, unique_by=lambda field: field["local_fieldname"])


def rows_type(name: str, key: str, fields: tuple[str, ...], child: ChildTable) -> DocumentType:
    return doctype(name, [*map(example.number, fields)], key=(key,), children=(child,))


@st.composite
def random_mappings(draw: st.DrawFn) -> MappedType:
    there = rows_type(
        "There", "id", FIELDS, ChildTable("rows", "row", ("n",), ("id",), columns("n", "id", *ROW_FIELDS))
    )
    names = ("a", "b", "e", "f")
    field = draw(st.sampled_from(("rows", "lines")))
    where = draw(st.sampled_from(((), (("kind", "K"),))))
    child = ChildTable(field, "line", ("k",), ("doc",), columns("k", "doc", "kind", "x", "y", "w"), where=where)
    here = rows_type("Here", "key", names, child)
    fields = draw(field_mappings(names, FIELDS))
    if draw(st.booleans()):
        fields.append(
            {"local_fieldname": field, "remote_fieldname": "rows", "mapping_type": "Child Table", "mapping": "R"}
        )
    unmapped = st.sampled_from(("carry", "drop"))
    outer = {"local_doctype": "Here", "remote_doctype": "There", "fields": fields, "unmapped": draw(unmapped)}
    inner = {
        "local_doctype": "line",
        "remote_doctype": "row",
        "fields": draw(field_mappings(("x", "y", "w"), (*ROW_FIELDS, "n"))),
        "unmapped": draw(unmapped),
    }
    given = {"M": MappingSettings.model_validate(outer), "R": MappingSettings.model_validate(inner)}
    return mapped_type("M", given, here, describe(there))


@st.composite
def documents(draw: st.DrawFn) -> Row:
    row = st.fixed_dictionaries(dict.fromkeys(ROW_FIELDS, VALUES))
    rows = draw(st.dictionaries(st.integers(1, 3), row, max_size=3))
    return draw(st.fixed_dictionaries(dict.fromkeys(FIELDS, VALUES))) | {
        "id": 1,
        "rows": [{"n": number, "id": 1, **each} for number, each in rows.items()],
    }


def without_edits_of_nothing(of: Difference) -> Difference:
    """The same without values that replace equal ones: where a default value took the place of NULL."""
    old = of.old
    kept = {column: value for column, value in of.changed.items() if old.changed[column] != value}
    of = Difference(kept, of.added, of.removed, {}, OldValues({column: old.changed[column] for column in kept}))
    of.old.removed = old.removed
    return of


def rows_by_field(of: Difference) -> dict[tuple[str, Any, str], tuple[Any, Any]]:
    """Each changed value of a child row, with the one that it replaced, where they differ."""
    found = {}
    for field, rows in of.row_changed.items():
        for row, was in zip(rows, of.old.row_changed[field], strict=True):
            found |= {
                (field, row["k"], column): (value, was[column])
                for column, value in row.items()
                if column != "k" and value != was[column]
            }
    return found


@given(random_mappings(), documents(), documents())
def test_a_mapped_difference_is_the_difference_of_mapped_documents(one: MappedType, before: Row, after: Row) -> None:
    mapped_difference = one.difference(difference_there(before, after))
    expected = difference(one.local, one.document(before), one.document(after))
    assert without_edits_of_nothing(mapped_difference) == without_edits_of_nothing(expected)
    assert rows_by_field(mapped_difference) == rows_by_field(expected)


def difference_there(before: Row, after: Row) -> Difference:
    there = ChildTable("rows", "row", ("n",), ("id",), columns("n", "id", *ROW_FIELDS))
    return difference(rows_type("There", "id", FIELDS, there), before, after)


@given(random_mappings(), documents())
def test_nothing_is_written_that_this_site_does_not_have_and_nothing_is_lost_unsaid(
    one: MappedType, document: Row
) -> None:
    here = one.document(document)
    lines = here.pop(one.local.children[0].field, [])
    assert here.keys() <= one.local.written_names - {"key"}
    for row in lines:
        assert row.keys() <= one.local.children[0].written_names - {"doc"}
    carried = {column for column in FIELDS if one.columns.targets(column)}
    said = {field for field in one.unmapped if "/" not in field}
    assert carried | said >= {*FIELDS} - {"rows"}
    assert not carried & said
