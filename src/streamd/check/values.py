"""Whether a column can hold what another one holds, as far as their types say. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from streamd.check.judging import Finding, problem, warning
from streamd.check.sizes import Declared, declared
from streamd.model import Column, Kind
from streamd.wire import ColumnDescriptor

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

_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN)

SIGNED_64 = (-(2**63), 2**63 - 1)


def judge_values(
    area: str, table: str, here: Column, there: ColumnDescriptor, *, filled: bool, enforced: bool
) -> list[Finding]:
    """One column of ours, and the producer's whose values it gets. `filled`: it has a default value for NULL."""
    found = []
    mine, theirs = declared(here.kind, here.declared), declared(kind_of(there.kind), there.declared)
    named = "" if there.name == here.name else f"{there.name} "
    what = (
        f"{table}.{here.name} holds {here.kind.value} ({here.declared or 'no type'}) here, "
        f"and {named}{there.kind} ({there.declared or 'no type'}) there"
    )
    alike = "declare the column alike at both sites"
    as_text = "declare the column TEXT at this site, or map the field to one that is TEXT"
    hint = as_text if mine.kind in (Kind.DECIMAL, Kind.FLOAT) and not enforced else alike
    if Kind.ANY in (mine.kind, theirs.kind):
        pass
    elif lost := _lost(mine, theirs, enforced=enforced):
        # Where both say the same, the producer's database may be one that keeps no more of it than ours.
        found.append((warning if here.declared == there.declared else problem)(area, what, lost, hint))
    elif mine.kind not in {theirs.kind, *_FITS.get(theirs.kind, ())}:
        found.append(warning(area, what, "values may change, or be refused", alike))
    elif refused := _refused(mine, theirs, enforced=enforced):
        found.append(warning(area, what, refused, hint))
    if there.nullable and not here.nullable and not filled:
        found.append(
            warning(
                area,
                f"{table}.{here.name} must not be NULL here, and {named or 'it '}may be NULL there",
                "a document without this value is parked",
                "declare the column alike at both sites",
            )
        )
    return found


def judge_default(area: str, column: Column, value: str | int | float | bool) -> list[Finding]:
    """A default value that the configuration states for a column of ours."""
    limit = declared(column.kind, column.declared).length
    if isinstance(value, str):
        fits = column.kind not in _NUMBERS or _is_number(value)
        if limit is not None and len(value) > limit and column.kind is Kind.TEXT:
            fits = False
    else:
        fits = column.kind in (*_NUMBERS, Kind.TEXT, Kind.JSON, Kind.ANY)
        if column.kind is Kind.INTEGER and isinstance(value, float) and not value.is_integer():
            fits = False
    if fits:
        return []
    return [
        problem(
            area,
            f"default_value is {value!r}, and the column holds {column.kind.value} ({column.declared or 'no type'})",
            "documents that get it are refused by this database, or the value is changed",
            "write a value that the column can hold",
        )
    ]


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _lost(mine: Declared, theirs: Declared, *, enforced: bool) -> str:
    """What our column certainly makes of values that theirs may hold: they would not be the same here."""
    if theirs.kind == Kind.DECIMAL and mine.kind == Kind.FLOAT:
        return f"numbers of more than {FLOAT_DIGITS} digits are rounded here" if _is_long(theirs) else ""
    if not enforced:
        return ""
    if theirs.kind == Kind.DECIMAL and mine.kind == Kind.DECIMAL:
        if theirs.scale is not None and mine.scale is not None and theirs.scale > mine.scale:
            return f"numbers with more than {mine.scale} digits behind the point are rounded here"
    elif mine.kind == Kind.INTEGER and (theirs.kind == Kind.FLOAT or (theirs.kind == Kind.DECIMAL and theirs.scale)):
        return "digits behind the point are lost here, or the number is refused"
    elif theirs.kind == Kind.DATETIME_ZONED and mine.kind in (Kind.DATETIME, Kind.DATE, Kind.TIME):
        return "the time zone is lost here"
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
        is_float = theirs.kind == Kind.DECIMAL and mine.kind == Kind.DECIMAL and _is_long(theirs)
        return (
            f"numbers of more than {FLOAT_DIGITS} digits that a 64-bit float cannot hold are refused here"
            if is_float
            else ""
        )
    if mine.kind == Kind.DECIMAL and mine.before_point is not None:
        if theirs.before_point is None:
            return f"numbers of more digits than {mine.digits}, {mine.scale} of them behind the point, do not fit here"
        if theirs.before_point > mine.before_point:
            return f"numbers of more than {mine.before_point} digits before the point are refused here"
    long = mine.length is not None and (theirs.length is None or theirs.length > mine.length)
    if long and mine.kind == theirs.kind and mine.kind in (Kind.TEXT, Kind.BYTES):
        return f"values longer than {mine.length} are refused here"
    if mine.words and mine.words != theirs.words:
        return "only the values of the type are accepted here"
    return ""


def _is_long(theirs: Declared) -> bool:
    return (theirs.digits or 0) > FLOAT_DIGITS


def kind_of(text: str) -> Kind:
    """A kind that a newer release made up counts as any."""
    try:
        return Kind(text)
    except ValueError:
        return Kind.ANY
