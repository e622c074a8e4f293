"""How documents are named here: what a convention's text means, and what a series gives."""

from __future__ import annotations

from datetime import date

import pytest

from streamd.apply.localnames.naming import Convention, naming_of, place_in, read_naming, row_key_naming
from streamd.apply.localnames.naming_problems import naming_problems
from streamd.apply.source import own_names
from streamd.errors import RowRefused
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.settings import ProducerSettings, Settings

DAY = date(2026, 3, 9)


def name(pattern: str, number: int = 7, **fields: object) -> str:
    return place_in(read_naming(pattern), fields, DAY).name(number)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("SINV-.YYYY.-.#####", "SINV-2026-00007"),
        ("SINV-.YY.MM.DD.-.##", "SINV-260309-07"),
        ("W.WW.-.#", "W11-7"),
        ("SINV-.#####.-X", "SINV-00007-X"),
        ("SINV-####", "SINV-0007"),
        (".{company}.-.###", "acme-007"),
        (".company.-.###", "acme-007"),
        ("format:EX-{YYYY}-{company}-{####}", "EX-2026-acme-0007"),
        ("naming_series:", "PAY-2026-00007"),
        ("naming_series:OTHER-.#", "PAY-2026-00007"),
    ],
)
def test_a_series_gives_the_name_that_the_ancestor_gives(pattern: str, expected: str) -> None:
    assert name(pattern, company="acme", naming_series="PAY-.YYYY.-.#####") == expected


def test_a_number_that_outgrows_its_digits_is_not_cut() -> None:
    assert name("A-.##", 12345) == "A-12345"


def test_a_document_that_names_no_series_gets_the_one_of_its_type() -> None:
    assert name("naming_series:PAY-.###", naming_series=None) == "PAY-007"
    with pytest.raises(RowRefused, match="naming_series is empty"):
        name("naming_series:", naming_series="")


def test_documents_count_by_what_stands_before_their_number() -> None:
    rule = read_naming("INV-.{company}.-.###")
    one, other = (place_in(rule, {"company": company}, DAY) for company in ("a", "b"))
    assert one.prefix != other.prefix
    with pytest.raises(RowRefused, match="company is empty"):
        place_in(rule, {"company": None}, DAY)
    with pytest.raises(RowRefused, match="no field company"):
        place_in(rule, {}, DAY)


@pytest.mark.parametrize(
    ("text", "convention", "rest"),
    [
        ("database", Convention.DATABASE, ""),
        ("autoincrement", Convention.DATABASE, ""),
        ("UUID", Convention.UUID, ""),
        ("hash", Convention.HASH, ""),
        ("Prompt", Convention.SAME, ""),
        ("field: title ", Convention.FIELD, "title"),
        ("eval:doc.a + '-' + doc.b", Convention.EXPRESSION, "doc.a + '-' + doc.b"),
    ],
)
def test_a_convention_is_read_from_its_text(text: str, convention: Convention, rest: str) -> None:
    rule = read_naming(text)
    assert (rule.convention, rule.rest) == (convention, rest)


@pytest.mark.parametrize("text", ["", "what", "field:", "eval: ", "A-.##.-.##", "SINV-.YYYY."])
def test_what_is_no_convention_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"convention|numbers|names no field|no expression"):
        read_naming(text)


def doctype(key: Column, *, naming: str = "") -> DocumentType:
    return DocumentType("T", "T", (key.name,), (key, Column("title", "TEXT", Kind.TEXT)), naming=naming)


def test_a_type_that_states_nothing_is_named_by_its_database_where_that_names_it() -> None:
    identity = Column("id", "INTEGER", Kind.INTEGER, nullable=False, automatic=True)
    plain = Column("code", "TEXT", Kind.TEXT, nullable=False)
    assert naming_of(doctype(identity)) == read_naming("database")
    assert naming_of(doctype(plain)) is None
    assert naming_of(doctype(plain, naming="field:title")) == read_naming("field:title")


@pytest.mark.parametrize(
    ("naming", "hint"),
    [
        ("SINV-YYYY-#####", ".YYYY."),
        ("SINV-YYYYMM-.#####", ".YYYY.MM."),
        ("format:EX-YYYY-{####}", "{YYYY}"),
        ("naming_series:PAY-YY-.###", ".YY."),
        ("SINV-.YYYY.-.#####", None),
        ("COMM-.MM.-.#####", None),
        ("format:EX-{YYYY}-{####}", None),
        ("uuid", None),
    ],
)
def test_a_date_without_points_in_a_series_is_warned_of(naming: str, hint: str | None) -> None:
    key = Column("code", "TEXT", Kind.TEXT, nullable=False)
    columns = (key, Column("naming_series", "TEXT", Kind.TEXT))
    catalogue = Catalogue({"T": DocumentType("T", "T", ("code",), columns, naming=naming)}, frozenset())
    settings = Settings(site={"name": "store", "database": "sqlite:///:memory:"}, doctypes={"T": {"naming": naming}})
    found = naming_problems(settings, catalogue)
    if hint is None:
        assert found == []
    else:
        assert [(each.where, each.fatal) for each in found] == [("doctypes.T.naming", False)]
        assert f"write {hint}, if" in found[0].hint


def child(*key: Column, parent_key: str = "parent", naming: str = "") -> ChildTable:
    columns = (*key, *(() if any(c.name == parent_key for c in key) else (Column(parent_key, "TEXT", Kind.TEXT),)))
    return ChildTable("lines", "Line", tuple(c.name for c in key), (parent_key,), columns, naming=naming)


def test_child_rows_get_keys_of_their_own_unless_the_keys_mean_something() -> None:
    number = Column("id", "INTEGER", Kind.INTEGER, nullable=False, automatic=True)
    text = Column("name", "TEXT", Kind.TEXT, nullable=False)
    parent = Column("parent", "INTEGER", Kind.INTEGER)
    given = Column("given", "INTEGER", Kind.INTEGER)
    assert row_key_naming(child(number)) == read_naming("database")
    assert row_key_naming(child(text)) == read_naming("hash")
    assert row_key_naming(child(text, naming="uuid")) == read_naming("uuid")
    assert row_key_naming(child(text, naming="prompt")) is None
    assert row_key_naming(child(given)) is None
    assert row_key_naming(child(parent, number)) is None


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"use_same_name": False, "doctypes": ["Invoice"]}, {"Invoice", "Customer"}),
        ({"use_same_name": True, "doctypes": [{"doctype": "Invoice", "use_same_name": False}]}, {"Invoice"}),
    ],
    ids=["for the producer", "for the type"],
)
def test_what_comes_for_a_link_alone_is_named_here_where_that_is_said_for_the_producer(
    said: dict[str, object], named: set[str]
) -> None:
    columns = (Column("id", "INTEGER", Kind.INTEGER, nullable=False),)
    types = {each: DocumentType(each, each, ("id",), columns, naming="database") for each in ("Invoice", "Customer")}
    producer = ProducerSettings.model_validate({"url": "http://there.example", **said})
    assert own_names(producer, Catalogue(types, frozenset())) == named
