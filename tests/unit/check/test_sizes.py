"""What a producer's columns hold is compared with what ours can, as far as their types say."""

from __future__ import annotations

import msgspec
import pytest

from streamd.check.columns import judge_descriptors, unfit
from streamd.check.judging import Severity
from streamd.check.sizes import declared
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.wire import ColumnDescriptor, DoctypeDescriptor

OK, WARNING, PROBLEM = None, Severity.WARNING, Severity.PROBLEM

INTEGER, DECIMAL, FLOAT, TEXT, BYTES = Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT, Kind.BYTES
ZONED, NAIVE, DATE = Kind.DATETIME_ZONED, Kind.DATETIME, Kind.DATE


def described(kind: Kind, text: str, name: str = "value") -> ColumnDescriptor:
    return ColumnDescriptor(name=name, kind=kind.value, declared=text, nullable=name != "id", generated=False)


def descriptor(kind: Kind, text: str, key: str = "id") -> DoctypeDescriptor:
    columns = [described(INTEGER, "integer", "id"), described(kind, text)]
    return DoctypeDescriptor(doctype="T", key=[key], columns=columns, links=[], children=[], fingerprint="")


def catalogue(kind: Kind, text: str, key: str = "id") -> Catalogue:
    columns = (Column("id", "integer", INTEGER, nullable=False), Column("value", text, kind))
    return Catalogue({"T": DocumentType("T", "t", (key,), columns)}, frozenset())


def judged(there: tuple[Kind, str], here: tuple[Kind, str], *, enforced: bool = True) -> Severity | None:
    found = judge_descriptors("hq", ["T"], catalogue(*here), [descriptor(*there)], enforced=enforced)
    assert len(found) <= 1
    return found[0].severity if found else None


@pytest.mark.parametrize(
    ("there", "here", "severity"),
    [
        ((DECIMAL, "numeric(38,20)"), (DECIMAL, "decimal(10,2)"), PROBLEM),
        ((DECIMAL, "numeric(10,3)"), (DECIMAL, "decimal(10,2)"), PROBLEM),
        ((DECIMAL, "numeric(12,2)"), (DECIMAL, "decimal(10,2)"), WARNING),
        ((DECIMAL, "numeric(10,2)"), (DECIMAL, "decimal(10,2)"), OK),
        ((DECIMAL, "numeric(8,2)"), (DECIMAL, "numeric"), OK),
        ((DECIMAL, "numeric"), (DECIMAL, "decimal(10,2)"), WARNING),
        ((DECIMAL, "numeric(20,0)"), (FLOAT, "double"), PROBLEM),
        ((DECIMAL, "numeric(10,2)"), (INTEGER, "bigint"), PROBLEM),
        ((FLOAT, "double precision"), (INTEGER, "bigint"), PROBLEM),
        ((INTEGER, "bigint"), (DECIMAL, "decimal(10,2)"), WARNING),
        ((INTEGER, "integer"), (DECIMAL, "numeric(12,2)"), OK),
        ((TEXT, "character varying(200)"), (TEXT, "varchar(100)"), WARNING),
        ((TEXT, "text"), (TEXT, "varchar(100)"), WARNING),
        ((TEXT, "varchar(100)"), (TEXT, "text"), OK),
        ((TEXT, "varchar(100)"), (TEXT, "character varying(100)"), OK),
        ((TEXT, "varchar(4)"), (TEXT, "enum('a','b')"), WARNING),
        ((TEXT, "enum('a','b')"), (TEXT, "enum('a','b')"), OK),
        ((BYTES, "bytea"), (BYTES, "varbinary(20)"), WARNING),
        ((INTEGER, "bigint(20) unsigned"), (INTEGER, "bigint"), WARNING),
        ((INTEGER, "int(10) unsigned"), (INTEGER, "bigint"), OK),
        ((INTEGER, "bigint"), (INTEGER, "int(11)"), WARNING),
        ((INTEGER, "smallint"), (INTEGER, "tinyint(4)"), WARNING),
        ((INTEGER, "INTEGER"), (INTEGER, "integer"), OK),
        ((INTEGER, "bit(16)"), (INTEGER, "smallint"), WARNING),
        ((ZONED, "timestamp with time zone"), (NAIVE, "timestamp without time zone"), PROBLEM),
        ((NAIVE, "datetime(6)"), (ZONED, "timestamp with time zone"), WARNING),
        ((NAIVE, "datetime"), (DATE, "date"), PROBLEM),
        ((DATE, "date"), (NAIVE, "datetime"), OK),
        ((Kind.ANY, ""), (DECIMAL, "decimal(10,2)"), OK),
    ],
)
def test_what_a_type_cannot_hold_is_said(
    there: tuple[Kind, str], here: tuple[Kind, str], severity: Severity | None
) -> None:
    assert judged(there, here) == severity
    assert bool(unfit(catalogue(*here), [descriptor(*there)])) == (severity is PROBLEM)


@pytest.mark.parametrize(
    ("there", "here", "severity"),
    [
        ((DECIMAL, "numeric(19,4)"), (DECIMAL, "NUMERIC(19,4)"), WARNING),
        ((DECIMAL, "numeric(38,20)"), (FLOAT, "REAL"), PROBLEM),
        ((DECIMAL, "numeric(15,4)"), (DECIMAL, "NUMERIC(10,2)"), OK),
        ((DECIMAL, "numeric(38,20)"), (TEXT, "TEXT"), OK),
        # Both may be SQLite, which has no more of such a number at the producer either.
        ((DECIMAL, "DECIMAL(18,4)"), (DECIMAL, "DECIMAL(18,4)"), WARNING),
        ((TEXT, "text"), (TEXT, "VARCHAR(100)"), OK),
        ((INTEGER, "bigint"), (INTEGER, "INT"), OK),
        ((INTEGER, "bigint(20) unsigned"), (INTEGER, "INTEGER"), WARNING),
        ((ZONED, "timestamp with time zone"), (NAIVE, "DATETIME"), WARNING),
    ],
)
def test_a_database_that_takes_anything_is_judged_by_what_it_changes(
    there: tuple[Kind, str], here: tuple[Kind, str], severity: Severity | None
) -> None:
    assert judged(there, here, enforced=False) == severity


@pytest.mark.parametrize(
    ("kind", "text", "fits"),
    [
        (FLOAT, "double", False),
        (DECIMAL, "decimal(10,2)", False),
        (DECIMAL, "numeric(10,0)", True),
        (TEXT, "varchar(20)", True),
    ],
)
def test_a_number_with_a_point_is_no_name(kind: Kind, text: str, fits: bool) -> None:
    found = unfit(catalogue(kind, text, "value"), [descriptor(kind, text, "value")])
    assert ("T" not in found) == fits
    assert fits or "names compare" in str(
        judge_descriptors("hq", [], catalogue(kind, text, "value"), [descriptor(kind, text, "value")])
    )


def test_a_reason_names_the_column_and_the_mend() -> None:
    (reason,) = unfit(catalogue(DECIMAL, "decimal(10,2)"), [descriptor(DECIMAL, "numeric(38,20)")]).values()
    assert "t.value" in reason
    assert "numeric(38,20)" in reason
    assert "declare the column alike" in reason


def test_a_column_of_a_child_table_is_judged_as_well() -> None:
    child = ChildTable(
        "lines", "line", ("id",), ("t",), (Column("id", "integer", INTEGER), Column("t", "integer", INTEGER))
    )
    here = DocumentType("T", "t", ("id",), (Column("id", "integer", INTEGER, nullable=False),), (), (child,))
    there = msgspec.convert(
        {
            "doctype": "T",
            "key": ["id"],
            "columns": [],
            "links": [],
            "children": [{"field": "lines", "key": ["number"], "columns": [], "links": []}],
            "fingerprint": "",
        },
        DoctypeDescriptor,
    )
    assert "number" in unfit(Catalogue({"T": here}, frozenset()), [there])["T"]
    assert not unfit(Catalogue({}, frozenset()), [there])


def test_a_type_in_words_of_its_own_says_nothing() -> None:
    for text in ("", "mood", "größe(3)", "numeric(", "VARCHAR", "double precision"):
        assert declared(TEXT, text).length is None
        assert declared(DECIMAL, text).digits is None
