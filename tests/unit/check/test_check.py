"""`check` judges what it is told: triggers, addresses, a producer's answer, and its columns."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamd.check.columns import judge_descriptors
from streamd.check.judging import (
    Finding,
    Severity,
    judge_addresses,
    judge_answer,
    judge_triggers,
    same_site_twice,
)
from streamd.common.clock import MAX_AHEAD_MS
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.settings import Settings
from streamd.wire import DoctypeDescriptor, HandshakeAnswer

OWN, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
NOW = 1_700_000_000_000


def column(name: str, kind: Kind = Kind.INTEGER, **more: Any) -> Column:
    return Column(name, kind.value.upper(), kind, **more)


ITEM = DocumentType(
    "Item",
    "Item",
    ("id",),
    (column("id", nullable=False), column("title", Kind.TEXT), column("price", Kind.DECIMAL, nullable=False)),
    children=(ChildTable("codes", "Code", ("id",), ("item",), (column("id"), column("item"))),),
)
CATALOGUE = Catalogue({"Item": ITEM}, frozenset())


def bad(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.severity is not Severity.OK]


def answer(**changes: Any) -> HandshakeAnswer:
    values: dict[str, Any] = {
        "protocol": 1,
        "site": OTHER,
        "name": "hq",
        "version": "1",
        "log": "x",
        "clock_ms": NOW,
        "subscriptions": [{"doctype": "Item", "status": "Approved"}],
        "doctypes": [descriptor()],
        **changes,
    }
    return msgspec.convert(values, HandshakeAnswer)


def descriptor(key: tuple[str, ...] = ("id",), **changes: dict[str, Any] | None) -> dict[str, Any]:
    """The type Item as a producer describes it; `changes` replace columns, None removes one."""
    columns: dict[str, dict[str, Any] | None] = {
        "id": {"kind": "integer", "nullable": False},
        "title": {"kind": "text"},
        "price": {"kind": "decimal", "nullable": False},
        **changes,
    }
    made = [
        {"name": name, "declared": "", "nullable": True, "generated": False, **each}
        for name, each in columns.items()
        if each is not None
    ]
    return {"doctype": "Item", "key": list(key), "columns": made, "links": [], "children": [], "fingerprint": "f"}


def judged(**changes: dict[str, Any] | None) -> list[Finding]:
    there = msgspec.convert(descriptor(**changes), DoctypeDescriptor)
    return judge_descriptors("hq", ["Item"], CATALOGUE, [there])


def test_triggers_that_are_missing_or_old_are_a_problem() -> None:
    found = judge_triggers({"b": "old", "c": "x"}, {"a": "x", "b": "new"}, may_install=True)
    assert [each.severity for each in found] == [Severity.PROBLEM] * 3
    assert all("streamd install" in each.hint for each in found)
    assert not bad(judge_triggers({"a": "x"}, {"a": "x"}, may_install=True))


@pytest.mark.parametrize(
    ("url", "host", "areas"),
    [
        ("http://127.0.0.1:8101", "127.0.0.1", []),
        ("http://[::1]:8101", "localhost", []),
        ("http://127.0.0.1:8100", "127.0.0.1", ["producers.hq"]),
        ("http://localhost:8100", "0.0.0.0", ["server", "producers.hq"]),  # noqa: S104
        ("http://127.0.0.1:8100", "10.0.0.8", ["server"]),
        ("https://hq.example.com", "::1", []),
        ("http://hq.example.com", "127.0.0.1", ["producers.hq"]),
        ("http://10.0.0.7:8100", "10.0.0.8", ["server", "producers.hq"]),
    ],
)
def test_plain_http_beyond_this_machine_and_a_sites_own_address_are_found(
    url: str, host: str, areas: list[str]
) -> None:
    settings = Settings(
        site={"name": "here", "database": "sqlite:////x.db"},  # type: ignore[arg-type]
        server={"host": host},  # type: ignore[arg-type]
        producers={"hq": {"url": url, "use_same_name": True, "doctypes": []}},  # type: ignore[dict-item]
    )
    assert [each.area for each in judge_addresses(settings)] == areas


def test_a_producer_in_order_has_no_findings_but_good_ones() -> None:
    assert not bad(judge_answer("hq", ["Item"], CATALOGUE, answer(), NOW))
    assert not bad(judged())


@pytest.mark.parametrize(
    ("ahead", "severity"),
    [(0, None), (5_000, None), (-60_000, Severity.WARNING), (MAX_AHEAD_MS + 1, Severity.PROBLEM)],
)
def test_clocks_that_differ_are_said(ahead: int, severity: Severity | None) -> None:
    found = bad(judge_answer("hq", [], CATALOGUE, answer(clock_ms=NOW + ahead), NOW))
    assert [each.severity for each in found] == ([] if severity is None else [severity])


@pytest.mark.parametrize(("status", "severity"), [("Pending", Severity.WARNING), ("Rejected", Severity.PROBLEM)])
def test_what_is_not_approved_is_said(status: str, severity: Severity) -> None:
    there = answer(subscriptions=[{"doctype": "Item", "status": status}], doctypes=[])
    assert [each.severity for each in bad(judge_answer("hq", ["Item"], CATALOGUE, there, NOW))] == [severity]


def test_a_type_that_the_producer_does_not_have_any_more_is_a_problem() -> None:
    found = bad(judge_answer("hq", ["Item"], CATALOGUE, answer(doctypes=[]), NOW))
    assert "no longer" in found[0].what


def test_types_that_an_approval_opens_and_that_are_not_here_are_warned_about() -> None:
    there = answer(subscriptions=[{"doctype": "Item", "status": "Approved", "opens": ["Group"]}])
    found = bad(judge_answer("hq", ["Item"], CATALOGUE, there, NOW))
    assert [each.severity for each in found] == [Severity.WARNING]
    assert "Group" in found[0].what


def test_one_site_under_two_names_is_a_problem() -> None:
    assert [each.area for each in same_site_twice({"a": OWN, "b": OTHER, "c": OWN})] == ["producers.c"]


def test_a_column_that_is_missing_here_is_warned_about() -> None:
    found = judged(colour={"kind": "text"}, total={"kind": "decimal", "generated": True})
    assert [each.severity for each in found] == [Severity.WARNING]
    assert "colour" in found[0].what
    assert "total" not in found[0].what


def test_a_column_that_must_be_filled_here_and_is_missing_there_is_a_problem() -> None:
    found = judged(price=None)
    assert [(each.severity, "price" in each.what) for each in found] == [(Severity.PROBLEM, True)]
    assert not judged(title=None)


def test_another_key_is_a_problem() -> None:
    there = msgspec.convert(descriptor(("title",)), DoctypeDescriptor)
    found = judge_descriptors("hq", ["Item"], CATALOGUE, [there])
    assert [each.severity for each in found] == [Severity.PROBLEM]


@pytest.mark.parametrize(
    ("kind", "fits"), [("decimal", True), ("integer", True), ("any", True), ("text", False), ("something new", True)]
)
def test_kinds_that_do_not_fit_are_warned_about(kind: str, fits: bool) -> None:
    assert bool(judged(price={"kind": kind, "nullable": False})) != fits


def test_null_there_and_not_null_here_is_warned_about() -> None:
    assert "NULL" in judged(price={"kind": "decimal"})[0].what
