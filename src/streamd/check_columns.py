"""Compares a document type at a producer with ours: will its documents fit? Pure.

A *problem* says that some values of the producer's cannot be here what they are there, and would be changed without a
word; or that documents cannot be applied at all. For a *warning* the database may refuse single values: their
documents are parked, with its words.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamd.check import Finding, Severity, problem, warning
from streamd.check_sizes import Declared, declared
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.wire import ColumnDescriptor, DoctypeDescriptor

_FITS = {
    Kind.INTEGER: {Kind.DECIMAL, Kind.BOOLEAN},
    Kind.DECIMAL: {Kind.TEXT},
    Kind.BOOLEAN: {Kind.INTEGER},
    Kind.DATE: {Kind.TEXT, Kind.DATETIME},
    Kind.TIME: {Kind.TEXT},
    Kind.DATETIME: {Kind.TEXT},
    Kind.DATETIME_ZONED: {Kind.TEXT},
    Kind.UUID: {Kind.TEXT},
    Kind.JSON: {Kind.TEXT},
    Kind.TEXT: {Kind.JSON, Kind.UUID},
}
"""What a value of one kind may be written to without changing its meaning, besides its own kind."""

FLOAT_DIGITS = 15
"""Decimal digits that a 64-bit float keeps for certain."""

SIGNED_64 = (-(2**63), 2**63 - 1)


def judge_descriptors(
    name: str,
    subscribed: Sequence[str],
    catalogue: Catalogue,
    descriptors: Sequence[DoctypeDescriptor],
    *,
    enforced: bool = True,
) -> list[Finding]:
    """Our types against those of the producer `name`: what will be left out, refused, or changed.

    `enforced`: our database holds columns to the types that they are declared with; SQLite does not.
    """
    found = []
    for there in descriptors:
        here = catalogue.get(there.doctype)
        if here is not None:
            found += _doctype(f"producers.{name}.{there.doctype}", here, there, enforced=enforced)
    missing = set(subscribed) - catalogue.doctypes.keys()
    return found + [problem(f"producers.{name}", f"{each} is no document type here") for each in sorted(missing)]


def unfit(catalogue: Catalogue, descriptors: Sequence[DoctypeDescriptor], *, enforced: bool = True) -> dict[str, str]:
    """The types whose documents cannot be applied here as long as both sites are what they are; with the reasons."""
    found = {}
    for there in descriptors:
        here = catalogue.get(there.doctype)
        problems = [
            f"{each.what} ({each.mend})"
            for each in (_doctype("", here, there, enforced=enforced) if here is not None else ())
            if each.severity is Severity.PROBLEM
        ]
        if problems:
            found[there.doctype] = "; ".join(problems)
    return found


def _doctype(area: str, here: DocumentType, there: DoctypeDescriptor, *, enforced: bool) -> list[Finding]:
    found = _keys(area, here.table, here.key, there.key, here.columns, there.columns)
    found += _columns(area, here.table, here.columns, here.key, there.columns, enforced=enforced)
    for field in there.children:
        child = here.child(field.field)
        if child is None:
            found.append(
                warning(
                    area,
                    f"the child table {field.field} is not declared here",
                    "its rows are left out",
                    f"declare [doctypes.{here.name}.children.{field.field}]",
                )
            )
            continue
        inner = f"{area}.{field.field}"
        found += _keys(inner, child.table, child.key, field.key, child.columns, field.columns)
        found += _columns(inner, child.table, child.columns, _given(child), field.columns, enforced=enforced)
    return found


def _given(child: ChildTable) -> tuple[str, ...]:
    """Columns of a child row that need no value of the producer's: the way to the parent, and the condition."""
    return (*child.parent_key, *(column for column, _ in child.where))


def _keys(
    area: str,
    table: str,
    here: Sequence[str],
    there: Sequence[str],
    mine: Sequence[Column],
    theirs: Sequence[ColumnDescriptor],
) -> list[Finding]:
    if tuple(here) != tuple(there):
        return [
            problem(
                area,
                f"rows are named by {', '.join(there)} there, and by {', '.join(here)} in {table} here",
                "documents of the two sites cannot be told from each other",
                "set key to the same columns at both sites",
            )
        ]
    columns = [declared(column.kind, column.declared) for column in mine if column.name in here]
    columns += [declared(_kind(column.kind), column.declared) for column in theirs if column.name in there]
    if not any(column.kind == Kind.FLOAT or (column.kind == Kind.DECIMAL and column.scale) for column in columns):
        return []
    return [
        problem(
            area,
            f"rows of {table} are named by numbers with a point ({', '.join(here)})",
            "names compare exactly, and such a number is not the same in each database",
            "set key to columns that hold whole numbers or text",
        )
    ]


def _columns(
    area: str,
    table: str,
    here: Sequence[Column],
    given: Sequence[str],
    there: Sequence[ColumnDescriptor],
    *,
    enforced: bool,
) -> list[Finding]:
    mine = {column.name: column for column in here}
    theirs = {column.name: column for column in there}
    found = []
    left_out = [name for name, column in theirs.items() if name not in mine and not column.generated]
    if left_out:
        found.append(
            warning(
                area,
                f"{table} has no column {', '.join(left_out)}",
                "their values are left out here",
                "add the columns here, if you want the values",
            )
        )
    for name, column in mine.items():
        other = theirs.get(name)
        if column.generated:
            continue
        if other is None:
            if not column.nullable and not column.has_default and name not in given:
                found.append(
                    problem(
                        area,
                        f"{table}.{name} must not be NULL, has no default, and is missing at the producer",
                        "every new document is refused by this database, and parked",
                        "give the column a default here, or add it there",
                    )
                )
            continue
        found += _values(area, table, column, other, enforced=enforced)
    return found


def _values(area: str, table: str, here: Column, there: ColumnDescriptor, *, enforced: bool) -> list[Finding]:
    found = []
    mine, theirs = declared(here.kind, here.declared), declared(_kind(there.kind), there.declared)
    what = (
        f"{table}.{here.name} holds {here.kind.value} ({here.declared or 'no type'}) here, "
        f"and {there.kind} ({there.declared or 'no type'}) there"
    )
    alike = "declare the column alike at both sites"
    if Kind.ANY in (mine.kind, theirs.kind):
        pass
    elif lost := _lost(mine, theirs, enforced=enforced):
        text = "declare the column as text here" if mine.kind in (Kind.DECIMAL, Kind.FLOAT) and not enforced else alike
        # Where both say the same, the producer's database may be one that keeps no more of it than ours.
        found.append((warning if here.declared == there.declared else problem)(area, what, lost, text))
    elif mine.kind not in {theirs.kind, *_FITS.get(theirs.kind, ())}:
        found.append(warning(area, what, "values may change, or be refused", alike))
    elif refused := _refused(mine, theirs, enforced=enforced):
        found.append(warning(area, what, refused, alike))
    if there.nullable and not here.nullable:
        found.append(
            warning(
                area,
                f"{table}.{here.name} may be NULL there, and must not be NULL here",
                "a document without this value is parked",
                "declare the column alike at both sites",
            )
        )
    return found


def _lost(mine: Declared, theirs: Declared, *, enforced: bool) -> str:
    """What our column certainly makes of values that theirs may hold: they would not be the same here."""
    if theirs.kind == Kind.DECIMAL and (mine.kind == Kind.FLOAT or (mine.kind == Kind.DECIMAL and not enforced)):
        if (theirs.digits or 0) > FLOAT_DIGITS:
            return f"numbers of more than {FLOAT_DIGITS} digits are rounded here, or refused"
        return ""
    if not enforced:
        return ""
    if theirs.kind == Kind.DECIMAL and mine.kind == Kind.DECIMAL:
        if theirs.scale is not None and mine.scale is not None and theirs.scale > mine.scale:
            return f"numbers with more than {mine.scale} digits behind the point are rounded here"
    elif mine.kind == Kind.INTEGER and (theirs.kind == Kind.FLOAT or (theirs.kind == Kind.DECIMAL and theirs.scale)):
        return "what stands behind the point is lost here, or the number refused"
    elif theirs.kind == Kind.DATETIME_ZONED and mine.kind in (Kind.DATETIME, Kind.DATE, Kind.TIME):
        return "the zone is lost here, and with it the moment that is meant"
    elif theirs.kind == Kind.DATETIME and mine.kind in (Kind.DATE, Kind.TIME):
        return f"only the {mine.kind.value} of each value is kept here"
    return ""


def _refused(mine: Declared, theirs: Declared, *, enforced: bool) -> str:
    """What our column may refuse of the values that theirs may hold."""
    if mine.kind == Kind.INTEGER and theirs.kind == Kind.INTEGER:
        least, most = mine.whole_numbers if enforced else SIGNED_64
        lower, upper = theirs.whole_numbers
        if lower < least or upper > most:
            return f"numbers below {least}, or above {most}, are refused here"
    if not enforced:
        return ""
    if mine.kind == Kind.DECIMAL and mine.before_point is not None:
        if theirs.before_point is None:
            return f"numbers of more digits than {mine.digits}, {mine.scale} of them behind the point, do not fit here"
        if theirs.before_point > mine.before_point:
            return f"numbers of more than {mine.before_point} digits before the point are refused here"
    long = mine.length is not None and (theirs.length is None or theirs.length > mine.length)
    if long and mine.kind == theirs.kind and mine.kind in (Kind.TEXT, Kind.BYTES):
        return f"what is longer than {mine.length} is refused here"
    if mine.words and mine.words != theirs.words:
        return "only the values that the type names are taken here"
    return ""


def _kind(text: str) -> Kind:
    """A kind that a newer release made up counts as any."""
    try:
        return Kind(text)
    except ValueError:
        return Kind.ANY
