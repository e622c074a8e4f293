"""Faults of mappings are found in the file, before a database or a producer is asked; and where they lead is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamd import settings
from streamd.errors import ConfigurationError, Problem
from streamd.settings import SubscribedDoctype
from tests.support.sites import mapping as example

SITE = """
[site]
name = "here"
database = "sqlite:///here.db"
[doctypes.Opportunity]
[doctypes.Lead]
[doctypes.Customer]
"""

LEAD = """
[mappings.Lead]
local_doctype = "Lead"
remote_doctype = "Person"
fields = [{ local_fieldname = "lead_name", remote_fieldname = "full_name" }]
"""


def problems(text: str, folder: Path, doctypes: str = "[]") -> list[Problem]:
    producer = f'[producers.hq]\nurl = "http://hq"\nuse_same_name = true\ndoctypes = {doctypes}\n'
    file = folder / "streamd.toml"
    file.write_text(SITE + text + producer, encoding="utf-8")
    try:
        settings.load(file)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def mapping(*fields: str, name: str = "Deal", local: str = "Opportunity", remote: str = "Deal") -> str:
    stated = ", ".join(f"{{ {field} }}" for field in fields)
    return f'[mappings.{name}]\nlocal_doctype = "{local}"\nremote_doctype = "{remote}"\nfields = [{stated}]\n'


LOOKS_FOR = (
    'local_fieldname = "party", mapping_type = "Document", mapping = "Lead", remote_value_filters = { phone = "phone" }'
)
ENTRY = '[{ doctype = "Opportunity", mapping = "Deal" }]'


def test_a_mapping_that_is_right_has_no_problems(tmp_path: Path) -> None:
    assert problems(LEAD + mapping(LOOKS_FOR), tmp_path, ENTRY) == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('local_fieldname = "a"', "no source for its value"),
        ('local_fieldname = "a", remote_fieldname = "b", mapping_type = "Document"', "needs a mapping"),
        ('local_fieldname = "a", remote_fieldname = "b", mapping = "Lead"', "no mapping_type"),
        (
            'local_fieldname = "a", remote_fieldname = "b", mapping_type = "Document", mapping = "Led"',
            "Led does not exist",
        ),
        ('local_fieldname = "a", mapping_type = "Document", mapping = "Lead"', "which document to find"),
        ('local_fieldname = "a", remote_fieldname = "b", remote_value_filters = { x = "y" }', "remote_value_filters"),
        ('local_fieldname = "a", mapping_type = "Child Table", mapping = "Lead"', "the producer's child table"),
        (
            'local_fieldname = "a", remote_fieldname = "b", mapping_type = "Child Table", mapping = "Lead", '
            "default_value = 1",
            "no default value",
        ),
    ],
)
def test_a_field_that_cannot_be_meant_is_refused(field: str, said: str, tmp_path: Path) -> None:
    found = problems(LEAD + mapping(field), tmp_path)
    assert any(said in each.what for each in found)
    assert all(each.where == "mappings.Deal.a" and each.hint for each in found)


def test_a_name_that_nearly_is_one_gets_the_right_one_offered(tmp_path: Path) -> None:
    (found,) = problems(LEAD + mapping(), tmp_path, '[{ doctype = "Lead", mapping = "Laed" }]')
    assert (found.where, found.what) == ("producers.hq.doctypes.Lead", "the mapping Laed does not exist")
    assert found.hint == "did you mean Lead?"


def test_a_field_that_is_mapped_twice_is_refused(tmp_path: Path) -> None:
    field = 'local_fieldname = "a", remote_fieldname = "b"'
    (found,) = problems(mapping(field, field), tmp_path)
    assert found.where == "mappings.Deal.a"


def test_a_mapping_of_another_type_than_the_entrys_is_refused(tmp_path: Path) -> None:
    (found,) = problems(LEAD, tmp_path, '[{ doctype = "Opportunity", mapping = "Lead" }]')
    assert "whose local type is Lead" in found.what


def test_a_type_that_is_looked_for_has_to_be_declared(tmp_path: Path) -> None:
    undeclared = LEAD.replace('local_doctype = "Lead"', 'local_doctype = "Contact"')
    (found,) = problems(undeclared + mapping(LOOKS_FOR), tmp_path, ENTRY)
    assert (found.where, found.what) == ("mappings.Lead.local_doctype", "Contact is not a document type of this site")


def child_table(field: str, inner: str) -> str:
    return (
        f'local_fieldname = "{field}", remote_fieldname = "{field}", mapping_type = "Child Table", mapping = "{inner}"'
    )


def test_child_tables_that_lead_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = mapping(child_table("x", "B"), name="A") + mapping(child_table("y", "A"), name="B")
    assert [each.what for each in problems(text, tmp_path)] == [
        "refers to itself: A → B → A",
        "refers to itself: B → A → B",
    ]
    assert "A → A" in problems(mapping(child_table("x", "A"), name="A"), tmp_path)[0].what


def test_child_rows_have_no_child_tables(tmp_path: Path) -> None:
    text = mapping(child_table("x", "B"), name="A") + mapping(child_table("y", "C"), name="B") + mapping(name="C")
    (found,) = problems(text, tmp_path)
    assert found.where == "mappings.A.x"
    assert "child rows have no child tables" in found.what


def test_one_type_there_does_not_become_two_here(tmp_path: Path) -> None:
    text = LEAD + mapping(name="Customer", local="Customer", remote="Person")
    entries = '[{ doctype = "Lead", mapping = "Lead" }, { doctype = "Customer", mapping = "Customer" }]'
    (found,) = problems(text, tmp_path, entries)
    assert found.what == "Person has two targets: Lead (by Lead) and Customer (by Customer)"


def test_two_types_there_do_not_become_one_here(tmp_path: Path) -> None:
    text = LEAD + mapping(LOOKS_FOR)
    (found,) = problems(text, tmp_path, '[{ doctype = "Opportunity", mapping = "Deal" }, "Lead"]')
    assert found.what == "Lead has two sources: Person (by Lead) and Lead (without a mapping)"


def test_a_type_is_not_mapped_for_one_entry_and_unmapped_for_another(tmp_path: Path) -> None:
    text = LEAD.replace('"Person"', '"Lead"') + mapping(LOOKS_FOR)
    (found,) = problems(text, tmp_path, '[{ doctype = "Opportunity", mapping = "Deal" }, "Lead"]')
    assert found.what == "Lead has two targets: Lead (by Lead) and Lead (without a mapping)"
    ended = '[{ doctype = "Opportunity", mapping = "Deal" }, { doctype = "Lead", unsubscribe = true }]'
    assert problems(text, tmp_path, ended) == []


def test_two_producers_may_have_the_same_mapping(tmp_path: Path) -> None:
    second = f'[producers.other]\nurl = "http://other"\nuse_same_name = true\ndoctypes = {ENTRY}\n'
    assert problems(LEAD + mapping(LOOKS_FOR) + second, tmp_path, ENTRY) == []


def test_what_is_looked_for_is_told_to_the_producer_however_deep_it_stands() -> None:
    looks: dict[str, Any] = {"mapping_type": "Document", "remote_value_filters": {"x": "x"}}
    table = {"local_fieldname": "rows", "remote_fieldname": "rows", "mapping_type": "Child Table", "mapping": "Row"}
    mappings = example.settings(
        A={"local_doctype": "A", "remote_doctype": "RA", "fields": [table]},
        Row={
            "local_doctype": "r",
            "remote_doctype": "rr",
            "fields": [looks | {"local_fieldname": "b", "mapping": "B"}],
        },
        B={
            "local_doctype": "B",
            "remote_doctype": "RB",
            "fields": [
                looks | {"local_fieldname": "a", "mapping": "A"},
                looks | {"local_fieldname": "c", "mapping": "C"},
                looks | {"local_fieldname": "d", "mapping": "D", "default_value": "always this"},
            ],
        },
        C={"local_doctype": "C", "remote_doctype": "RC"},
        D={"local_doctype": "D", "remote_doctype": "RD"},
    )
    entry = SubscribedDoctype(doctype="A", mapping="A")
    assert settings.reachable_mappings(mappings, "A") == ["A", "B", "C"]
    assert settings.lookup_doctypes(entry, mappings) == ["RB", "RC"]
    assert settings.remote_doctype(entry, mappings) == "RA"
    plain = SubscribedDoctype(doctype="A")
    assert (settings.lookup_doctypes(plain, mappings), settings.remote_doctype(plain, mappings)) == ([], "A")
