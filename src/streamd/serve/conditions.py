"""Of which documents a consumer hears: the condition of an approval, judged on a document's row. Pure.

A condition looks at the columns of the document's own row. Each event is judged on that row before and after it: so a
document that comes to satisfy the condition enters the consumer's view, and one that ceases to leaves it. Whatever
cannot be judged (a row that is not known, a value that the expression cannot take) counts as not satisfied.
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

NOTHING_CHANGED = "{}"
"""The data of an event by which a document enters: the consumer takes the document whole."""

Ref = tuple[str, str]
"""A document: its type, and its name as text."""

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Condition:
    """What has to hold of the documents of one type, for one consumer."""

    doctype: DocumentType
    expression: Expression

    def holds(self, row: bytes | str | None) -> bool:
        """Whether a document with this row (JSON) satisfies it; only the columns that it names are looked at."""
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
    def judged(self) -> DocumentType:
        """The type with only those columns of which the condition, or a document's name, speaks."""
        needed = self.expression.fields | set(self.doctype.key)
        columns = tuple(column for column in self.doctype.columns if column.name in needed)
        return replace(self.doctype, columns=columns, links=(), children=())


def condition_of(text: str, doctype: DocumentType) -> Condition:
    """The condition `text` on documents of this type. Raises `StreamdError` that names the type and the fault."""
    expression = readable_condition(text, doctype.name)
    columns = {column.name for column in doctype.columns}
    tables = {child.field for child in doctype.children}
    for field in sorted(expression.fields):
        if field in tables:
            raise _refused(
                doctype.name,
                f"{field} is a child table",
                "a condition sees the columns of the document itself, not its child rows",
            )
        if field not in columns:
            # One that is excluded looks like one that there never was. All names are not listed: who asks may not have
            # been approved yet.
            close = similar_names(field, columns)
            raise _refused(
                doctype.name,
                f"it has no field {field}",
                f"did you mean {' or '.join(close)}?"
                if close
                else "fields are compared exactly, as the table has them",
            )
    return Condition(doctype, expression)


def readable_condition(text: str, doctype: str) -> Expression:
    """The expression of a condition, whatever the type has. Raises `StreamdError` that names the type and the fault."""
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        raise _refused(doctype, error.message, error.hint) from error
    if not expression.may_hold:
        raise _refused(
            doctype,
            f"“{text}” is never true, for no document",
            "say what the value is compared with: doc.total > 1000",
        )
    for field in sorted(expression.hops):
        further = sorted(expression.hops[field])[0]
        raise _refused(
            doctype,
            f"doc.{field}.{further} looks into another document",
            f"a condition sees the columns of the document itself; doc.{field} alone is the name that it links to",
        )
    return expression


def _refused(doctype: str, fault: str, hint: str) -> StreamdError:
    return StreamdError(f"the condition of {doctype}: {fault}", hint=hint)


class Verdict(Enum):
    """What becomes of an event in the view of a consumer."""

    AS_IT_IS = "as it is"
    ENTERS = "the document enters"
    LEAVES = "the document leaves"
    LEFT_OUT = "left out"


class Served(NamedTuple):
    """An entry as it is served; `enters` says that its document has to be taken whole."""

    entry: LogEntry
    enters: bool = False


def verdict(operation: str, *, before: bool, after: bool, been_there: bool = False) -> Verdict:
    """What becomes of an event, by whether the condition held before it and after it.

    `been_there`: the event has been at the consumer's site, which has its content already. But what the event means for
    the consumer's view it does not know: a document of its own making enters, or leaves, at the producer.
    """
    if operation == Operation.UPDATE and before != after:
        return Verdict.ENTERS if after else Verdict.LEAVES
    if been_there:
        return Verdict.LEFT_OUT
    if operation == Operation.GAP:
        return Verdict.AS_IT_IS
    holds: dict[str, bool] = {
        Operation.CREATE: after,
        Operation.UPDATE: before and after,
        Operation.DELETE: before,
    }
    return Verdict.AS_IT_IS if holds.get(operation, False) else Verdict.LEFT_OUT


def judged(
    entries: Iterable[LogEntry], conditions: Mapping[str, Condition], site: str, rows: Mapping[int, str | None]
) -> list[Served]:
    """The entries as the consumer at `site` may have them: judged, where their type is approved under a condition.

    `rows` has, by sequence, the parent rows of the entries that do not have them (`untouched_rows`).
    """
    found = []
    for entry in entries:
        condition = conditions.get(entry.doctype)
        if condition is None:
            found.append(Served(entry))
            continue
        before, after = _judge(entry, condition, rows)
        match verdict(entry.operation, before=before, after=after, been_there=has_been_at(entry, site)):
            case Verdict.AS_IT_IS:
                found.append(Served(entry))
            case Verdict.ENTERS:
                # To the consumer it is something that happened here and now, wherever the edit was made.
                found.append(Served(replace(entry, data=NOTHING_CHANGED, renamed_from=None, origin=None), True))
            case Verdict.LEAVES:
                # It says nothing of the document but the name that the consumer knows.
                name = entry.name if entry.renamed_from is None else entry.renamed_from
                left = replace(entry, operation=Operation.LEAVE, name=name, data="null", renamed_from=None, origin=None)
                found.append(Served(left))
            case Verdict.LEFT_OUT:
                pass
    return found


def _judge(entry: LogEntry, condition: Condition, rows: Mapping[int, str | None]) -> tuple[bool, bool]:
    if entry.operation == Operation.GAP:
        return False, False
    if is_untouched(entry):
        holds = condition.holds(rows.get(entry.sequence))
        return holds, holds
    if entry.operation == Operation.UPDATE and entry.before is None:
        # Its row was replaced unseen: it enters, or leaves, whether it was at the consumer or not.
        after = condition.holds(entry.after)
        return not after, after
    before = condition.holds(entry.before)
    return before, before if entry.after == entry.before else condition.holds(entry.after)


def is_untouched(entry: LogEntry) -> bool:
    """Whether only child rows of the document changed, so that the entry does not say what its own row holds."""
    return entry.operation == Operation.UPDATE and entry.before is None and entry.after is None


def has_been_at(entry: LogEntry, site: str) -> bool:
    return site in entry.path.split()


def untouched_rows(
    entries: Sequence[LogEntry], doctypes: Collection[str], site: str
) -> tuple[dict[int, str | None], dict[Ref, list[int]]]:
    """The parent rows of the entries that do not have them, by sequence, as far as later ones of `entries` tell.

    And of which documents they do not tell, with the sequences. `entries` are all that the log has of these types
    between the first and the last of them. What has been at `site` is of no interest: it cannot enter or leave.
    """
    rows: dict[int, str | None] = {}
    asked: dict[Ref, list[int]] = {}
    known: dict[Ref, str | None] = {}
    for entry in reversed(entries):
        if entry.doctype not in doctypes or entry.operation == Operation.GAP:
            continue
        ref = (entry.doctype, entry.name)
        if not is_untouched(entry):
            # Under its new name there was nothing before, unless an earlier entry tells otherwise.
            known[ref] = None if entry.renamed_from is not None else entry.before
            if entry.renamed_from is not None:
                known[(entry.doctype, entry.renamed_from)] = entry.before
        elif has_been_at(entry, site):
            continue
        elif ref in known:
            rows[entry.sequence] = known[ref]
        else:
            asked.setdefault(ref, []).append(entry.sequence)
    return rows, asked
