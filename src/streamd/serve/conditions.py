"""Conditions of approvals: which documents a consumer receives. Pure.

A condition reads columns of the document's own row. Each event is evaluated on that row before and after the event. A
document that starts to satisfy the condition enters the consumer's view; one that stops leaves it. If a condition
cannot be evaluated (the row is unknown, or the expression has no result for a value), it is not satisfied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import msgspec

from streamd.common.spelling import similar_names
from streamd.errors import ExpressionError, StreamdError
from streamd.expressions import Expression, compile_expression
from streamd.model import DocumentType, LogEntry, Operation
from streamd.wire import read_json

NO_CHANGES = "{}"
"""The data of an event by which a document enters: the consumer fetches the whole document."""

Ref = tuple[str, str]
"""A document: its type, and its name as text."""

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Condition:
    """A condition on the documents of one type, for one consumer."""

    doctype: DocumentType
    expression: Expression

    def holds(self, row: bytes | str | None) -> bool:
        """Whether a document with this row (JSON) satisfies the condition. Only the columns it reads are decoded."""
        if row is None:
            return False
        try:
            parts = _ROW.decode(row)
            return self.expression.holds(
                {field: read_json(bytes(parts[field])) for field in self.expression.fields if field in parts}
            )
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    @cached_property
    def narrow_doctype(self) -> DocumentType:
        """The type, reduced to its key and the columns that the condition reads."""
        needed = self.expression.fields | set(self.doctype.key)
        columns = tuple(column for column in self.doctype.columns if column.name in needed)
        return replace(self.doctype, columns=columns, links=(), children=())


def compile_condition(text: str, doctype: DocumentType) -> Condition:
    """The condition `text` on documents of this type. Raises `StreamdError` that names the type and the fault."""
    expression = parse_condition(text, doctype.name)
    columns = {column.name for column in doctype.columns}
    child_fields = {child.field for child in doctype.children}
    for field in sorted(expression.fields):
        if field in child_fields:
            raise _invalid_condition(
                doctype.name,
                f"{field} is a child table",
                "a condition can read only the columns of the document itself, not its child rows",
            )
        if field not in columns:
            # An excluded column looks like one that does not exist. Columns are not all listed: the consumer may not
            # be approved yet.
            close = similar_names(field, columns)
            raise _invalid_condition(
                doctype.name,
                f"it has no field {field}",
                f"did you mean {' or '.join(close)}?" if close else "field names are case-sensitive, as in the table",
            )
    return Condition(doctype, expression)


def parse_condition(text: str, doctype: str) -> Expression:
    """The expression of a condition, not checked against the type's columns. Raises `StreamdError` with the fault."""
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        raise _invalid_condition(doctype, error.message, error.hint) from error
    if not expression.may_hold:
        raise _invalid_condition(
            doctype,
            f"“{text}” is never true, for no document",
            "compare the value with something: doc.total > 1000",
        )
    for field in sorted(expression.hops):
        next_field = sorted(expression.hops[field])[0]
        raise _invalid_condition(
            doctype,
            f"doc.{field}.{next_field} looks into another document",
            f"a condition can read only the columns of the document itself; doc.{field} is the name of the linked one",
        )
    return expression


def _invalid_condition(doctype: str, fault: str, hint: str) -> StreamdError:
    return StreamdError(f"the condition of {doctype}: {fault}", hint=hint)


class Verdict(Enum):
    """How an event appears in the view of a consumer."""

    UNCHANGED = "unchanged"
    ENTERS = "the document enters"
    LEAVES = "the document leaves"
    OMITTED = "omitted"


class Served(NamedTuple):
    """An entry as it is served. If `enters`, the consumer fetches the whole document."""

    entry: LogEntry
    enters: bool = False


def decide_verdict(operation: str, *, before: bool, after: bool, passed_consumer: bool = False) -> Verdict:
    """How an event appears to a consumer, given whether the condition held before and after it.

    `passed_consumer`: the event already passed through the consumer's site, so the consumer has its content. It is
    still told if the document enters or leaves its view, because it cannot decide that itself.
    """
    if operation == Operation.UPDATE and before != after:
        return Verdict.ENTERS if after else Verdict.LEAVES
    if passed_consumer:
        return Verdict.OMITTED
    if operation == Operation.GAP:
        return Verdict.UNCHANGED
    is_visible: dict[str, bool] = {
        Operation.CREATE: after,
        Operation.UPDATE: before and after,
        Operation.DELETE: before,
    }
    return Verdict.UNCHANGED if is_visible.get(operation, False) else Verdict.OMITTED


def filter_entries(
    entries: Iterable[LogEntry], conditions: Mapping[str, Condition], site: str, rows: Mapping[int, str | None]
) -> list[Served]:
    """The entries that the consumer at `site` receives, after the conditions of their types.

    `rows` has, by sequence, the parent rows for entries that do not contain them (`resolve_parent_rows`).
    """
    served = []
    for entry in entries:
        condition = conditions.get(entry.doctype)
        if condition is None:
            served.append(Served(entry))
            continue
        before, after = _evaluate(entry, condition, rows)
        match decide_verdict(entry.operation, before=before, after=after, passed_consumer=has_passed(entry, site)):
            case Verdict.UNCHANGED:
                served.append(Served(entry))
            case Verdict.ENTERS:
                # For the consumer this is a new event of this site, whichever site made the edit.
                served.append(Served(replace(entry, data=NO_CHANGES, renamed_from=None, origin=None), True))
            case Verdict.LEAVES:
                # Reveal nothing about the document except the name that the consumer already knows.
                name = entry.name if entry.renamed_from is None else entry.renamed_from
                left = replace(entry, operation=Operation.LEAVE, name=name, data="null", renamed_from=None, origin=None)
                served.append(Served(left))
            case Verdict.OMITTED:
                pass
    return served


def _evaluate(entry: LogEntry, condition: Condition, rows: Mapping[int, str | None]) -> tuple[bool, bool]:
    """Whether the condition holds before the event, and after it."""
    if entry.operation == Operation.GAP:
        return False, False
    if lacks_parent_row(entry):
        holds = condition.holds(rows.get(entry.sequence))
        return holds, holds
    if entry.operation == Operation.UPDATE and entry.before is None:
        # The old row is unknown. So the document enters or leaves, whether the consumer had it or not.
        after = condition.holds(entry.after)
        return not after, after
    before = condition.holds(entry.before)
    return before, before if entry.after == entry.before else condition.holds(entry.after)


def lacks_parent_row(entry: LogEntry) -> bool:
    """Whether only child rows changed, so that the entry does not contain the document's own row."""
    return entry.operation == Operation.UPDATE and entry.before is None and entry.after is None


def has_passed(entry: LogEntry, site: str) -> bool:
    """Whether the event has passed through the site."""
    return site in entry.path.split()


def resolve_parent_rows(
    entries: Sequence[LogEntry], doctypes: Collection[str], site: str
) -> tuple[dict[int, str | None], dict[Ref, list[int]]]:
    """The parent rows for entries that do not contain them, by sequence, as far as later entries tell.

    Also returns the documents whose rows remain unknown, with the sequences of their entries. `entries` must be all
    entries of these types between the first and the last one. Events that have passed through `site` are skipped:
    child rows cannot make a document enter or leave.
    """
    rows: dict[int, str | None] = {}
    unresolved: dict[Ref, list[int]] = {}
    known: dict[Ref, str | None] = {}
    for entry in reversed(entries):
        if entry.doctype not in doctypes or entry.operation == Operation.GAP:
            continue
        ref = (entry.doctype, entry.name)
        if not lacks_parent_row(entry):
            # Before a rename no document had the new name, unless an earlier entry says otherwise.
            known[ref] = None if entry.renamed_from is not None else entry.before
            if entry.renamed_from is not None:
                known[(entry.doctype, entry.renamed_from)] = entry.before
        elif has_passed(entry, site):
            continue
        elif ref in known:
            rows[entry.sequence] = known[ref]
        else:
            unresolved.setdefault(ref, []).append(entry.sequence)
    return rows, unresolved
