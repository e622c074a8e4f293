"""Which events a consumer receives under a condition: decided on the row before and after each event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.errors import StreamdError
from streamd.model import ChildTable, Column, DocumentType, Kind, LogEntry
from streamd.serve.conditions import (
    Condition,
    Verdict,
    compile_condition,
    decide_verdict,
    filter_entries,
    resolve_parent_rows,
)

HERE, CONSUMER = "99999999-9999-4999-8999-999999999999", "11111111-1111-4111-8111-111111111111"
COUNTRIES = ("IN", "IN", "US", None)
TEXT = Column("country", "TEXT", Kind.TEXT)
ID = Column("id", "INTEGER", Kind.INTEGER)
INVOICE = DocumentType(
    "Invoice",
    "Invoice",
    ("id",),
    (ID, TEXT, Column("total", "NUMERIC", Kind.DECIMAL)),
    children=(ChildTable("lines", "Line", ("id",), ("invoice",), (ID, Column("invoice", "INTEGER", Kind.INTEGER))),),
    excluded=("margin",),
)
INDIA = "doc.country == 'IN'"


@pytest.fixture(scope="module")
def india() -> Condition:
    return compile_condition(INDIA, INVOICE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("doc.country ==", "the condition of Invoice: "),
        ("doc.county == 'IN'", "the condition of Invoice: it has no field county"),
        ("doc.margin > 1", "the condition of Invoice: it has no field margin"),
        ("doc.lines == 1", "the condition of Invoice: lines is a child table"),
        ("doc.country.code == 'IN'", "the condition of Invoice: doc.country.code looks into another document"),
        ("doc.total + 1", "the condition of Invoice: “doc.total + 1” is never true"),
        ("doc.total > 1 ? 'yes' : 'no'", "the condition of Invoice: “doc.total > 1 ? 'yes' : 'no'” is never true"),
    ],
    ids=["unreadable", "no such field", "an excluded field", "child rows", "another document", "a number", "texts"],
)
def test_an_invalid_condition_is_refused_with_the_type_and_the_fault(text: str, words: str) -> None:
    with pytest.raises(StreamdError) as refused:
        compile_condition(text, INVOICE)
    assert refused.value.message.startswith(words)
    assert refused.value.hint


def test_the_hint_names_the_nearest_field_and_never_an_excluded_one() -> None:
    with pytest.raises(StreamdError) as refused:
        compile_condition("doc.county == 'IN'", INVOICE)
    assert refused.value.hint == "did you mean country?"
    with pytest.raises(StreamdError) as refused:
        compile_condition("doc.margins > 1", INVOICE)
    assert "margin" not in refused.value.hint


def test_only_the_key_and_the_columns_of_the_condition_are_read(india: Condition) -> None:
    assert [column.name for column in india.narrow_doctype.columns] == ["id", "country"]
    assert india.narrow_doctype.children == ()


@pytest.mark.parametrize(
    "row", [None, '{"id":1}', '{"country":null}', '{"country":7}', "{", '{"country":', b'{"country":"\xff"}', "[]"]
)
def test_an_unknown_or_unreadable_row_does_not_satisfy(india: Condition, row: str | bytes | None) -> None:
    assert india.holds('{"id":1,"country":"IN","photo":"x"}')
    assert not india.holds(row)


@pytest.mark.parametrize(
    ("operation", "before", "after", "expected", "expected_if_passed"),
    [
        ("create", False, True, Verdict.UNCHANGED, Verdict.OMITTED),
        ("create", False, False, Verdict.OMITTED, Verdict.OMITTED),
        ("update", True, True, Verdict.UNCHANGED, Verdict.OMITTED),
        ("update", False, True, Verdict.ENTERS, Verdict.ENTERS),
        ("update", True, False, Verdict.LEAVES, Verdict.LEAVES),
        ("update", False, False, Verdict.OMITTED, Verdict.OMITTED),
        ("delete", True, False, Verdict.UNCHANGED, Verdict.OMITTED),
        ("delete", False, False, Verdict.OMITTED, Verdict.OMITTED),
        ("gap", False, False, Verdict.UNCHANGED, Verdict.OMITTED),
        ("something new", True, True, Verdict.OMITTED, Verdict.OMITTED),
    ],
)
def test_the_verdict_on_an_event(
    operation: str, before: bool, after: bool, expected: Verdict, expected_if_passed: Verdict
) -> None:
    assert decide_verdict(operation, before=before, after=after) == expected
    assert decide_verdict(operation, before=before, after=after, passed_consumer=True) == expected_if_passed


def test_a_leave_reveals_only_the_name_that_the_consumer_knows(india: Condition) -> None:
    producer = Producer()
    producer.create(1, "IN")
    producer.rename(1, 2, "US")
    served = filter_entries(producer.log[1:], {"Invoice": india}, CONSUMER, {})
    ((left, enters),) = served
    assert (left.operation, left.name, left.renamed_from, left.data, enters) == ("leave", "[1]", None, "null", False)


def test_an_enter_reveals_only_the_new_name(india: Condition) -> None:
    producer = Producer()
    producer.create(1, "US")
    producer.rename(1, 2, "IN")
    ((entered, enters),) = filter_entries(producer.log[1:], {"Invoice": india}, CONSUMER, {})
    assert (entered.operation, entered.name, entered.renamed_from, entered.data) == ("update", "[2]", None, "{}")
    assert enters


@pytest.mark.parametrize(("country", "expected"), [("IN", ("update", True)), ("US", ("leave", False))])
def test_a_document_with_an_unknown_old_row_enters_or_leaves(
    india: Condition, country: str, expected: tuple[str, bool]
) -> None:
    producer = Producer()
    producer.create(1, country)
    producer.log[0].operation = "update"
    ((entry, enters),) = filter_entries(producer.log, {"Invoice": india}, CONSUMER, {})
    assert (entry.operation, enters) == expected


def test_a_consumers_own_edit_returns_only_if_the_document_enters_or_leaves(india: Condition) -> None:
    producer = Producer()
    producer.create(1, "IN", by=CONSUMER)
    producer.touch(1, by=CONSUMER)
    producer.update(1, "US", by=CONSUMER)
    producer.update(1, "IN", by=CONSUMER)
    served = filter_entries(producer.log, {"Invoice": india}, CONSUMER, {})
    assert [(each.entry.operation, each.enters, each.entry.origin) for each in served] == [
        ("leave", False, None),
        ("update", True, None),
    ]


def test_types_without_a_condition_are_not_filtered() -> None:
    producer = Producer()
    producer.create(1, "US")
    assert [each.entry for each in filter_entries(producer.log, {}, CONSUMER, {})] == producer.log


@dataclass
class Producer:
    """A site with invoices and its log. An invoice is a country, and the number of changes to its lines."""

    documents: dict[int, tuple[str | None, int]] = field(default_factory=dict)
    log: list[LogEntry] = field(default_factory=list)

    def _append(
        self,
        operation: str,
        number: int,
        before: str | None = None,
        after: str | None = None,
        *,
        old: int | None = None,
        by: str = "",
    ) -> None:
        path = f"{by} {HERE}".strip()
        renamed = None if old is None else f"[{old}]"
        origin = "{}" if by else None
        sequence = len(self.log) + 1
        data = json.dumps(self.documents.get(number)) if operation == "create" else "{}"
        self.log.append(
            LogEntry(
                sequence, "", sequence, True, "Invoice", f"[{number}]", operation, "", 0, data, before, after, renamed,
                origin, path,
            )
        )  # fmt: skip

    def row(self, number: int) -> str | None:
        if number not in self.documents:
            return None
        return json.dumps({"id": number, "country": self.documents[number][0]})

    def create(self, number: int, country: str | None, by: str = "") -> None:
        self.documents[number] = (country, 0)
        self._append("create", number, after=self.row(number), by=by)

    def update(self, number: int, country: str | None, by: str = "") -> None:
        before = self.row(number)
        self.documents[number] = (country, self.documents[number][1])
        self._append("update", number, before, self.row(number), by=by)

    def touch(self, number: int, by: str = "") -> None:
        """Change only child rows."""
        country, lines = self.documents[number]
        self.documents[number] = (country, lines + 1)
        self._append("update", number, by=by)

    def rename(self, number: int, to: int, country: str | None) -> None:
        before = self.row(number)
        self.documents[to] = (country, self.documents.pop(number)[1])
        self._append("update", to, before, self.row(to), old=number)

    def delete(self, number: int) -> None:
        before = self.row(number)
        del self.documents[number]
        self._append("delete", number, before)

    def rows(self, entries: Sequence[LogEntry]) -> dict[int, str | None]:
        """The parent rows for entries that do not contain them, found like the server does, but simply."""
        rows, unresolved = resolve_parent_rows(entries, {"Invoice"}, CONSUMER)
        for (_, name), sequences in unresolved.items():
            row = self.row(json.loads(name)[0])
            for later in self.log[entries[-1].sequence :]:
                if name in (later.name, later.renamed_from) and (later.before or later.after):
                    row = later.before if name == (later.renamed_from or later.name) else None
                    break
            rows.update(dict.fromkeys(sequences, row))
        return rows


@dataclass
class Consumer:
    """A consumer that applies served events, and fetches the whole document if it enters."""

    producer: Producer
    condition: Condition
    deletes: bool
    documents: dict[int, tuple[str | None, int]] = field(default_factory=dict)
    contained: dict[int, int] = field(default_factory=dict)
    place: int = 0

    def pull(self, most: int) -> None:
        entries = self.producer.log[self.place : self.place + most]
        if not entries:
            return
        self.place += len(entries)
        rows = self.producer.rows(entries)
        for entry, enters in filter_entries(entries, {"Invoice": self.condition}, CONSUMER, rows):
            (number,) = json.loads(entry.name)
            if entry.sequence <= self.contained.get(number, 0):
                continue
            self.apply(entry, number, enters)

    def apply(self, entry: LogEntry, number: int, enters: bool) -> None:
        if enters or (entry.operation == "update" and number not in self.documents and not entry.renamed_from):
            self.fetch(number)
        elif entry.operation == "create":
            country, lines = json.loads(entry.data)
            self.documents[number] = (country, lines)
        elif entry.operation == "update":
            old = number if entry.renamed_from is None else json.loads(entry.renamed_from)[0]
            if old not in self.documents or (old != number and entry.sequence <= self.contained.get(old, 0)):
                # The document is not here, or the one with the old name is a different document that was fetched later.
                return self.fetch(number)
            country, lines = self.documents.pop(old)
            if entry.after is None:
                lines += 1
            else:
                country = json.loads(entry.after)["country"]
            self.documents[number] = (country, lines)
        elif entry.operation == "delete" or (entry.operation == "leave" and self.deletes):
            self.documents.pop(number, None)
        return None

    def fetch(self, number: int) -> None:
        """Take the document as it is now, if it satisfies the condition."""
        if self.condition.holds(self.producer.row(number)):
            self.documents[number] = self.producer.documents[number]
            self.contained[number] = len(self.producer.log)


WHAT = ("create", "create", "update", "update", "touch", "touch", "touch", "rename", "delete", "own edit", "own line")
STEPS = st.lists(
    st.tuples(st.sampled_from([*WHAT, "pull"]), st.integers(1, 2), st.sampled_from(COUNTRIES), st.integers(1, 3)),
    min_size=8,
    max_size=25,
)


@given(STEPS, st.booleans())
def test_a_consumer_has_exactly_the_matching_documents_or_keeps_those_that_left(
    steps: list[tuple[str, int, str | None, int]], deletes: bool
) -> None:
    producer = Producer()
    consumer = Consumer(producer, compile_condition(INDIA, INVOICE), deletes)
    for what, number, country, other in steps:
        there = number in producer.documents
        if what == "pull":
            consumer.pull(other)
        elif what == "create" and not there:
            producer.create(number, country)
        elif what == "rename" and there and other not in producer.documents:
            producer.rename(number, other, country)
        elif what in ("own edit", "own line"):
            consumer.pull(1000)
            if there and number in consumer.documents:
                own_country, lines = consumer.documents[number]
                if what == "own edit":
                    consumer.documents[number] = (country, lines)
                    producer.update(number, country, by=CONSUMER)
                else:
                    consumer.documents[number] = (own_country, lines + 1)
                    producer.touch(number, by=CONSUMER)
        elif there and what == "update":
            producer.update(number, country)
        elif there and what == "touch":
            producer.touch(number)
        elif there and what == "delete":
            producer.delete(number)
    consumer.pull(1000)
    wanted = {
        number: document
        for number, document in producer.documents.items()
        if consumer.condition.holds(producer.row(number))
    }
    if deletes:
        assert consumer.documents == wanted
    else:
        assert wanted.items() <= consumer.documents.items()
