"""Child rows that come to a document, or cease to be of it, without a change of their own. Pure.

Consumers move a document's rows with it when it is renamed, and so does a foreign key here, by changes that triggers
see. Without one, rows that the application does not move keep the old name: they are of no document then, or of the one
that takes this name next. And rows that were there already, without a document, are of the one that gets their name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamd.model import Name

Ref = tuple[str, Name]

Place = tuple[Name, Name]
"""Where a child row is: the name of its document, and its own key."""

Field = tuple[str, str]
"""A type and one of its fields that hold child rows."""


@dataclass(frozen=True, slots=True)
class Naming:
    """A change by which a document gets a name (`new`), gives one up (`old`), or both. It is of the transaction of
    the changes `first` to `last`."""

    id: int
    first: int
    last: int
    doctype: str
    old: Name | None
    new: Name | None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of a child row: where it was before, and where it is after; `row` is what it was before, as JSON."""

    id: int
    before: Place | None
    after: Place | None
    row: bytes | None = None

    @property
    def places(self) -> Iterator[Place]:
        """Where the row was or is."""
        yield from (place for place in (self.before, self.after) if place is not None)


@dataclass(frozen=True, slots=True)
class Untold:
    """A child row that comes with the change `id`, or goes; `early`: right before that.

    `row` is its JSON; None where it is the row that stands in the database. `doubtful`: it may be the document's own
    from before, whose row was replaced unseen by the one that was inserted.
    """

    id: int
    of: Field
    place: Place
    comes: bool
    early: bool
    row: bytes | None
    doubtful: bool = False

    @property
    def ref(self) -> Ref:
        """The document under whose name it stands."""
        return self.of[0], self.place[0]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there besides what a batch of changes tells.

    Child rows of documents that do not exist are told to nobody: of those that are `orphaned`, and of those that are
    `absent` until they get their names within the batch. `untold` is what becomes of child rows without a change;
    `incomplete` are documents that are made or renamed, of whose rows that is not known.
    """

    orphaned: frozenset[Ref] = frozenset()
    absent: frozenset[Ref] = frozenset()
    untold: Sequence[Untold] = ()
    incomplete: frozenset[Ref] = frozenset()

    @property
    def doubtful(self) -> frozenset[Ref]:
        """The documents that were made, or were there before."""
        return frozenset(each.ref for each in self.untold if each.doubtful)

    def taken_whole(self, were_there: frozenset[Ref]) -> Standing:
        """The same, where these documents were there before."""
        rest = [each for each in self.untold if not (each.doubtful and each.ref in were_there)]
        return replace(self, untold=rest, incomplete=self.incomplete | were_there)


NOTHING = Standing()


class Rows:
    """The child rows of one field over time: their changes in order, and where they stand after all of these."""

    def __init__(self, changes: Sequence[RowChange], standing: Iterable[Place]) -> None:
        self._changes: dict[Name, list[RowChange]] = defaultdict(list)  # by each key that a row has, or had
        self._keys: dict[Name, set[Name]] = defaultdict(set)
        self._standing = set(standing)
        for change in changes:
            for name, key in change.places:
                self._keys[name].add(key)
            for key in {key for _, key in change.places}:
                self._changes[key].append(change)
        for name, key in self._standing:
            self._keys[name].add(key)

    def under(
        self, name: Name, moment: int, told: Callable[[RowChange], bool] = lambda _: False
    ) -> Iterator[tuple[Place, bytes | None]]:
        """The rows that stand under a name after the change `moment`, but for those whose last change tells of that."""
        for key in sorted(self._keys.get(name, ()), key=repr):
            changes = self._changes.get(key, ())
            later = next((change for change in changes if change.id > moment), None)
            last = next((change for change in reversed(changes) if change.id < moment), None)
            if last is not None and told(last):
                continue
            if later is None:
                if (name, key) in self._standing:
                    yield (name, key), None
            elif later.before == (name, key):
                yield (name, key), later.row


@dataclass(slots=True)
class _Names:
    """The names that were given up, and those of documents that were deleted, of one type: in one transaction."""

    given_up: set[Name] = field(default_factory=set)
    deleted: set[Name] = field(default_factory=set)


class _Untold:
    def __init__(self, rows: Mapping[Field, Rows], follow: frozenset[Field]) -> None:
        self._rows = rows
        self._follow = follow
        self._names: dict[tuple[int, str], _Names] = defaultdict(_Names)
        self._ended: set[Ref] = set()

    def take(self, naming: Naming, of: Field) -> Iterator[Untold]:
        """What becomes of a field's rows where a document gets a name."""
        assert naming.new is not None  # noqa: S101  # the caller looked
        known, name = self._names[(naming.last, naming.doctype)], naming.new
        follows = of in self._follow
        left = name in known.given_up and not follows
        if left:
            for place, row in self._rows[of].under(name, naming.id, lambda last: _went_before(last, naming)):
                yield Untold(naming.id, of, place, comes=False, early=True, row=row)
        if name in known.deleted or (follows and naming.old is not None):
            return
        told = _went_before if left else _told
        doubtful = naming.old is None and (naming.doctype, name) not in self._ended
        for place, row in self._rows[of].under(name, naming.id, lambda last: told(last, naming)):
            yield Untold(naming.id, of, place, comes=True, early=False, row=row, doubtful=doubtful)

    def note(self, naming: Naming) -> None:
        known = self._names[(naming.last, naming.doctype)]
        if naming.old is not None:
            (known.given_up if naming.new is not None else known.deleted).add(naming.old)
            self._ended.add((naming.doctype, naming.old))
        if naming.new is not None:
            known.given_up.discard(naming.new)
            known.deleted.discard(naming.new)

    def rest(self, of: Field) -> Iterator[Untold]:
        """What stands under names that nobody took again before the transaction ended."""
        for (last, doctype), known in self._names.items():
            for name in known.given_up if doctype == of[0] and of not in self._follow else ():
                for place, row in self._rows[of].under(name, last):
                    yield Untold(last, of, place, comes=False, early=False, row=row)


def untold_rows(namings: Iterable[Naming], rows: Mapping[Field, Rows], follow: frozenset[Field]) -> Iterator[Untold]:
    """What becomes of child rows by these changes, which are in order.

    `follow` are the fields whose rows the database itself moves with a renamed document, unseen.
    """
    found = _Untold(rows, follow)
    fields: dict[str, list[Field]] = defaultdict(list)
    for of in rows:
        fields[of[0]].append(of)
    for each in namings:
        for of in fields[each.doctype] if each.new is not None else ():
            yield from found.take(each, of)
        found.note(each)
    for of in rows:
        yield from found.rest(of)


def _told(change: RowChange, naming: Naming) -> bool:
    """Whether this transaction tells of the row, as one of the document that gets its name."""
    return change.id >= naming.first


def _went_before(change: RowChange, naming: Naming) -> bool:
    """Whether a row left the document's old name in the transaction in which this was given up, and before that."""
    return _told(change, naming) and change.before is not None and change.before[0] == naming.old
