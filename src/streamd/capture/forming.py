"""Forms documents' events from changed rows. Pure: the same changes give the same events.

Within one transaction and one origin, what happens to one document becomes one event: its row and its child
rows inserted are one create; changes are one update with the difference; its deletion is one delete. A changed
key (a rename), a change of origin and other columns are barriers: what came before them stays an event of its own. A
row that is deleted and made again under its name (`REPLACE`) is an update: its child rows may never have gone. An event
stands where its last change stood. Child rows of a document that was renamed are its own, under whichever of its names,
to the end of the transaction; what stayed behind then is told by `untold.py`, and of it nobody hears again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec

from streamd.capture.formed import Edit, Formed
from streamd.capture.happening import Happening, event_data, goes_along, named_now
from streamd.capture.unseen import Unseen, renames_in, was_moved
from streamd.capture.untold import NOTHING, Standing
from streamd.common import clock as hlc
from streamd.model import (
    Change,
    ChangeOp,
    DocumentId,
    DocumentType,
    LogEntry,
    Mark,
    Name,
    Operation,
    Origin,
    name_label,
    name_text,
)
from streamd.rows import Binding, unseen

_MARK = msgspec.json.Decoder(Mark)
_encode = msgspec.json.Encoder().encode

APART_MS = 1000
"""On an engine that does not tell transactions: changes of one document that are further apart are no one change."""


def form(
    changes: Sequence[Change],
    bound: Mapping[str, Sequence[Binding]],
    *,
    site: str,
    clock: str,
    logged: frozenset[str],
    remembered: frozenset[str],
    standing: Standing = NOTHING,
) -> Formed:
    """The events of some changes, which must be whole transactions, one after the other.

    Changes with `tx` 0 count as one transaction.

    `clock` is the reading after the changes before them; `logged` names the types whose events go into the
    log; `remembered` those whose local edits are wanted. A row that cannot be read becomes a gap. `standing` is
    what there is besides.
    """
    entries: list[LogEntry] = []
    edits: list[Edit] = []
    unseen = Unseen(standing, bound)
    for _, transaction in groupby(changes, key=lambda change: change.tx):
        some = list(transaction)
        former = _Former(bound, site, clock, some, unseen)
        for change in some:
            former.take(change)
        former.end()
        formed = former.result(logged, remembered)
        entries += formed.entries
        edits += formed.edits
        clock = formed.clock
    return Formed(entries, edits, clock, standing.incomplete)


class _Former:
    def __init__(
        self,
        bound: Mapping[str, Sequence[Binding]],
        site: str,
        clock: str,
        changes: Sequence[Change],
        unseen: Unseen,
    ) -> None:
        self._bound = bound
        self._unseen = unseen
        unseen.begin(changes)
        self._site = site
        self._clock = clock
        self._open: dict[tuple[str, Name], Happening] = {}
        self._closed: list[Happening] = []
        self._given_up: dict[tuple[str, Name], Happening] = {}
        self._gaps: list[LogEntry] = []
        self._marks: dict[str, Mark] = {}
        self._renames = renames_in(changes, bound)
        self._columns: dict[str, str] = {}

    def take(self, change: Change) -> None:
        if change.fingerprint and self._columns.setdefault(change.table, change.fingerprint) != change.fingerprint:
            self._columns[change.table] = change.fingerprint
            self.close_all()  # the table has other columns by now: what is in a new one is no edit
        if change.origin:
            clock = self._mark(change.origin).clock
            self._clock = hlc.latest((self._clock, clock))
        else:
            self._clock = clock = hlc.tick(self._clock, change.at, self._site)
        self._take_unseen(change, clock, early=True)
        for binding in self._bound.get(change.table, ()):
            try:
                if change.op == ChangeOp.TRUNCATE:
                    self._gap(change, binding, clock, unseen(change))
                elif binding.child is None:
                    self._parent(change, binding, clock)
                else:
                    self._child(change, binding, clock)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._gap(change, binding, clock, _unreadable(change, str(error)))
        self._take_unseen(change, clock, early=False)

    def _take_unseen(self, change: Change, clock: str, *, early: bool) -> None:
        for seen, binding in self._unseen.changes(change, early=early):
            self._child(seen, binding, clock)

    def _mark(self, text: str) -> Mark:
        mark = self._marks.get(text)
        if mark is None:
            mark = self._marks[text] = _MARK.decode(text)
        return mark

    def _parent(self, change: Change, binding: Binding, clock: str) -> None:
        doctype = binding.doctype
        old = None if change.before is None else binding.name_of(change.before)
        new = None if change.after is None else binding.name_of(change.after)
        if (change.before is not None and old is None) or (change.after is not None and new is None):
            self._gap(change, binding, clock, _unreadable(change, "a row without a name (its key is NULL)"))
            return
        if change.op == ChangeOp.INSERT and new is not None:
            found = self._inserted(binding, new, change, clock)
        elif change.op == ChangeOp.UPDATE and old is not None and new is not None:
            early = self._open.get((doctype.name, new))
            if old != new and early is not None and early.is_early(change):
                self._renamed_late(early, old, change)
                return
            found = (
                self._renamed(doctype, old, new, change, clock)
                if old != new
                else self._document(doctype, old, change, clock)
            )
            if not found.parent_touched:
                found.before = change.before
        elif old is not None:
            self._deleted(doctype, old, change, clock)
            return
        else:
            return
        found.after = change.after
        found.parent_touched = True

    def _inserted(self, binding: Binding, name: Name, change: Change, clock: str) -> Happening:
        """The document whose row was inserted: a new one, or one that got another row (`INSERT OR REPLACE`).

        A replaced row's child rows may never have gone (where foreign keys are off), so it is an update. Where they
        may have gone unseen, it says so.
        """
        doctype = binding.doctype
        self._taken_again(doctype, name)
        found = self._open.get((doctype.name, name))
        if found is not None and _is_apart(found, change):
            self._close(found)
            found = None
        if found is not None and found.origin == change.origin and found.parent_touched:
            if found.operation == Operation.DELETE:
                found.operation = Operation.UPDATE
                found.whole = found.whole or binding.silent
            return self._document(doctype, name, change, clock)
        if found is not None and (found.origin != change.origin or found.had_rows):
            self._close(found)
        found = self._document(doctype, name, change, clock)
        found.operation = Operation.CREATE
        return found

    def _renamed(self, doctype: DocumentType, old: Name, new: Name, change: Change, clock: str) -> Happening:
        self._taken_again(doctype, new)
        before = self._open.get((doctype.name, old))
        if before is not None:
            self._close(before)
        after = self._open.get((doctype.name, new))
        if after is not None and (after.parent_touched or after.origin != change.origin):
            self._close(after)
        found = self._document(doctype, new, change, clock)
        found.renamed_from = old
        self._given_up[(doctype.name, old)] = found
        return found

    def _renamed_late(self, found: Happening, old: Name, change: Change) -> None:
        before = self._open.get((found.doctype.name, old))
        if before is not None:
            self._close(before)
        found.renamed_from, found.before, found.last_change = old, change.before, change.id
        self._given_up[(found.doctype.name, old)] = found

    def _taken_again(self, doctype: DocumentType, name: Name) -> None:
        """A document takes a name that another one gave up: that one's event comes first, whatever follows of it."""
        before = self._given_up.pop((doctype.name, name), None)
        if before is not None and self._open.get((doctype.name, before.name)) is before:
            self._close(before)

    def _deleted(self, doctype: DocumentType, name: Name, change: Change, clock: str) -> None:
        found = self._open.get((doctype.name, name))
        if found is not None and (found.renamed_from is not None or found.origin != change.origin):
            self._close(found)
        found = self._document(doctype, name, change, clock)
        if found.operation == Operation.CREATE:
            # Made and deleted within one transaction: nobody ever saw it.
            del self._open[(doctype.name, name)]
            return
        found.operation = Operation.DELETE
        found.before = found.before if found.parent_touched else change.before
        found.after = None
        found.parent_touched = True

    def _child(self, change: Change, binding: Binding, clock: str) -> None:
        assert binding.child is not None  # noqa: S101  # the caller looked
        before = self._unseen.known(binding, change.before, self._given_up)
        went = was_moved(change, binding, self._renames)
        after = self._unseen.known(binding, change.after, {} if went else self._given_up)
        old = None if before is None else binding.name_of(before)
        new = None if after is None else binding.name_of(after)
        old_key = None if before is None else binding.row_key_of(before)
        new_key = None if after is None else binding.row_key_of(after)
        doctype, fieldname = binding.doctype, binding.child.field
        moved = old != new and (doctype.name, old, new) not in self._renames
        if moved or old is None or new is None:
            if old is not None:
                found = self._document(doctype, old, change, clock)
                self._row(found, change, (fieldname, old_key), (before, None))
            if new is not None:
                target = self._document(doctype, new, change, clock)
                target.adds = True
                self._row(target, change, (fieldname, new_key), (None, after))
            return
        found = self._document(doctype, new, change, clock)
        if old_key == new_key or (old != new and goes_along(binding, old, new, old_key, new_key)):
            self._row(found, change, (fieldname, new_key), (before, after))
        else:
            self._row(found, change, (fieldname, old_key), (before, None))
            self._row(self._document(doctype, new, change, clock), change, (fieldname, new_key), (None, after))

    def _row(
        self,
        found: Happening,
        change: Change,
        place: tuple[str, Name | None],
        row: tuple[bytes | None, bytes | None],
    ) -> None:
        """What happens to one child row: `place` is its field and key, `row` what it was and is."""
        (fieldname, key), (before, after) = place, row
        if key is None:
            raise msgspec.DecodeError("a child row without a name (its key is NULL)")
        if before is not None and found.operation == Operation.CREATE and key not in found.children.get(fieldname, {}):
            # The row is older than the document's own row, which replaced another one unseen.
            clock = found.clock
            self._close(found)
            found = self._document(found.doctype, found.name, change, clock)
        rows = found.children.setdefault(fieldname, {})
        seen = rows.get(key)
        if seen is None:
            rows[key] = [before, after]
        elif seen[0] is None and after is None:
            del rows[key]
        else:
            seen[1] = after

    def _document(self, doctype: DocumentType, name: Name, change: Change, clock: str) -> Happening:
        found = self._open.get((doctype.name, name))
        if found is not None and _is_apart(found, change):
            self._close(found)
            found = None
        if found is not None and (found.origin != change.origin or found.operation == Operation.DELETE):
            if found.operation == Operation.DELETE and found.origin == change.origin and change.op == ChangeOp.DELETE:
                found.last_change, found.clock, found.at = change.id, clock, change.at
                return found
            self._close(found)
            found = None
        if found is None:
            found = self._open[(doctype.name, name)] = Happening(doctype, name, change.origin)
        found.last_change, found.clock, found.at = change.id, clock, change.at
        return found

    def _close(self, found: Happening) -> None:
        self._closed.append(self._open.pop((found.doctype.name, found.name)))

    def close_all(self) -> None:
        for found in list(self._open.values()):
            self._close(found)

    def end(self) -> None:
        """The transaction ends here."""
        self.close_all()
        self._unseen.end(self._closed, self._given_up)

    def _gap(self, change: Change, binding: Binding, clock: str, reason: str) -> None:
        self._gaps.append(
            LogEntry(
                0, "", change.id, True, binding.doctype.name, '[""]', Operation.GAP, clock, change.at,
                _encode({"reason": reason}).decode(), None, None, None, None, self._site,
            )
        )  # fmt: skip

    def result(self, logged: frozenset[str], remembered: frozenset[str]) -> Formed:
        # A row that moves leaves one document before it enters the other, although one change did both.
        self._closed.sort(key=lambda found: (found.last_change, found.adds))
        entries = [gap for gap in self._gaps if gap.doctype in logged]
        edits = []
        for found, (now, id) in zip(self._closed, named_now(self._closed, self._mark), strict=True):
            name = found.doctype.name
            wanted = not found.origin and name in remembered
            if name not in logged and not wanted:
                continue
            try:
                data, fields = event_data(found)
                text = None if data is None else data.decode()
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if name in logged:
                    entries.append(self._unreadable(found, str(error)))
                continue
            if text is None:
                continue
            if wanted:
                written, old = tuple(fields), found.renamed_from
                edits.append(Edit(name, now, found.operation, found.clock, found.at, written, old, text))
            if name in logged:
                entries.append(self._entry(found, text, id))
        for index, entry in enumerate(entries):
            entry.last_in_tx = index == len(entries) - 1
            entry.tx = entries[-1].tx
        return Formed(entries, edits, self._clock)

    def _entry(self, found: Happening, data: str, id: DocumentId | None) -> LogEntry:
        origin, path, links, rows = None, self._site, None, None
        if found.origin:
            mark = self._mark(found.origin)
            first = mark.origin
            id = mark.id
            links = _encode(mark.links).decode() if mark.links else None
            rows = _encode(mark.rows).decode() if mark.rows else None
            sites = (*first.path, self._site)
            origin = _encode(Origin(first.site, first.log, first.sequence, sites)).decode()
            path = " ".join(sites)
        return LogEntry(
            0,
            "",
            found.last_change,
            False,
            found.doctype.name,
            name_text(found.name),
            found.operation,
            found.clock,
            found.at,
            data,
            found.before.decode("utf-8", "replace") if found.before is not None else None,
            found.after.decode("utf-8", "replace") if found.after is not None else None,
            None if found.renamed_from is None else name_text(found.renamed_from),
            origin,
            path,
            None if id is None else _encode(id).decode(),
            links,
            rows,
        )

    def _unreadable(self, found: Happening, why: str) -> LogEntry:
        reason = f"{found.doctype.name} {name_label(found.name)} holds text that is not valid UTF-8: {why}"
        return LogEntry(
            0, "", found.last_change, False, found.doctype.name, '[""]', Operation.GAP, found.clock, found.at,
            _encode({"reason": reason}).decode(), None, None, None, None, self._site,
        )  # fmt: skip


def _is_apart(found: Happening, change: Change) -> bool:
    """Whether a change is so long after what happened to its document that it is of another transaction for certain.

    Where the engine tells transactions apart there is nothing to guess.
    """
    return change.tx == 0 and change.at - found.at > APART_MS


def _unreadable(change: Change, why: str) -> str:
    return f"a changed row of {change.table} (change {change.id}) cannot be read: {why}"
