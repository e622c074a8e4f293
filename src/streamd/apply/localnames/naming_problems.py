"""What is wrong with how documents are to be named here, before any comes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streamd.apply.localnames.naming import (
    DAY_PARTS,
    NAMING_SERIES,
    ROW_CONVENTIONS,
    Convention,
    Naming,
    naming_of,
    read_naming,
    series_parts,
)
from streamd.errors import ExpressionError, Problem
from streamd.expressions import compile_expression
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.settings import Settings, toml_key

_DATE = re.compile("|".join(DAY_PARTS))
_DATES = re.compile(rf"(?<![A-Za-z])(?:{_DATE.pattern})+(?![A-Za-z])")


def naming_problems(settings: Settings, catalogue: Catalogue) -> list[Problem]:
    """Faults of what is stated, and types that get names of this site's own without a way to name them.

    What an application says of types that keep their names does not matter.
    """
    found: list[Problem] = []
    stated = {name for name, given in settings.doctypes.items() if given.naming}
    for given in settings.producers.values():
        stated |= {entry.doctype for entry in given.doctypes if given.same_name(entry) is False}
    for name, doctype in catalogue.doctypes.items():
        where = f"doctypes.{toml_key(name)}"
        if doctype.naming and name in stated:
            found += _stated(f"{where}.naming", doctype)
        rows = settings.doctypes[name].children if name in settings.doctypes else {}
        for child in doctype.children:
            if child.field in rows and rows[child.field].naming:
                found += _stated_for_rows(f"{where}.children.{toml_key(child.field)}.naming", child)
    for producer, given in settings.producers.items():
        for entry in given.doctypes:
            named = catalogue.get(entry.doctype)
            if named is not None and not entry.unsubscribe and given.same_name(entry) is False:
                found += _unnamed(f"producers.{toml_key(producer)}.doctypes.{toml_key(entry.doctype)}", named)
    return found


def _stated(where: str, doctype: DocumentType) -> Iterator[Problem]:
    try:
        rule = read_naming(doctype.naming)
    except ValueError as error:
        yield Problem(where, str(error))
        return
    key = _column(doctype, doctype.key[0])
    columns = {column.name for column in doctype.columns}
    if len(doctype.key) > 1:
        yield Problem(where, f"{doctype.name} is named by several columns, which mean something", "remove this")
    elif rule.convention is Convention.DATABASE and not key.automatic:
        yield Problem(
            where,
            f"the database gives {doctype.table}.{key.name} no value of its own",
            "make it an identity (auto-increment), or give it a default such as a new UUID; or name another convention",
        )
    elif rule.convention in (Convention.SERIES, Convention.HASH, Convention.UUID) and key.kind is Kind.INTEGER:
        yield Problem(
            where, f"{doctype.table}.{key.name} holds numbers, and {doctype.naming} gives text", "use database"
        )
    yield from _fields(where, rule, columns)
    if rule.convention is Convention.SERIES and rule.rest:
        yield from _literal_dates(where, doctype, rule.rest)


def _literal_dates(where: str, doctype: DocumentType, series: str) -> Iterator[Problem]:
    """What looks like a part of the day's date, and stands for itself since no points are around it."""
    columns = {column.name for column in doctype.columns}
    for part in series_parts(series):
        if part in DAY_PARTS or part in columns or part.strip("{}") in columns:
            continue
        found = _DATES.findall(part)
        if found:
            written = [f".{'.'.join(_DATE.findall(run))}." for run in dict.fromkeys(found)]
            if doctype.naming.lstrip().startswith("format:"):
                written = ["".join(f"{{{each}}}" for each in _DATE.findall(run)) for run in dict.fromkeys(found)]
            yield Problem(
                where,
                f"{part!r} stands for itself in this series: a date is not put in",
                f"write {' and '.join(written)}, if the day's date is meant",
                fatal=False,
            )


def _fields(where: str, rule: Naming, columns: set[str]) -> Iterator[Problem]:
    """Faults of the fields that a convention reads."""
    if rule.convention is Convention.FIELD and rule.rest not in columns:
        yield Problem(where, f"there is no column {rule.rest}", "name one of the type's own columns")
    elif rule.convention is Convention.EXPRESSION:
        try:
            expression = compile_expression(rule.rest)
        except ExpressionError as error:
            yield Problem(where, error.message, error.hint)
            return
        if expression.hops:
            yield Problem(where, "looks beyond the document", "use the document's own fields")
        for field in sorted(expression.fields - columns):
            yield Problem(where, f"there is no column {field}", "name one of the type's own columns")
    elif rule.convention is Convention.SERIES:
        if rule.by_field and NAMING_SERIES not in columns:
            yield Problem(where, f"there is no column {NAMING_SERIES}", "write the series itself, such as SINV-.#####")
        for part in series_parts(rule.rest) if rule.rest else ():
            if part.startswith("{") and part[1:-1] not in columns:
                yield Problem(where, f"there is no column {part[1:-1]}", "name one of the type's own columns in braces")


def _stated_for_rows(where: str, child: ChildTable) -> Iterator[Problem]:
    try:
        rule = read_naming(child.naming)
    except ValueError as error:
        yield Problem(where, str(error))
        return
    key = _column(child, child.key[0])
    if rule.convention not in ROW_CONVENTIONS:
        yield Problem(where, "child rows get keys, not names", "write database, uuid, hash or prompt (as they were)")
    elif rule.convention is Convention.DATABASE and not key.automatic:
        yield Problem(
            where, f"the database gives {child.table}.{key.name} no value of its own", "name another convention"
        )
    elif rule.convention in (Convention.HASH, Convention.UUID) and key.kind is Kind.INTEGER:
        yield Problem(where, f"{child.table}.{key.name} holds numbers, and {child.naming} gives text", "use database")


def _unnamed(where: str, doctype: DocumentType) -> Iterator[Problem]:
    """A type whose documents are to get names here, and nothing says which."""
    if doctype.single:
        yield Problem(where, f"{doctype.name} is a single, which has no other name", "set use_same_name = true for it")
    elif len(doctype.key) > 1:
        yield Problem(
            where,
            f"{doctype.name} is named by several columns ({', '.join(doctype.key)}), which mean something",
            "set use_same_name = true for it",
        )
    elif not doctype.naming and naming_of(doctype) is None:
        yield Problem(
            where,
            f"use_same_name is false, and nothing says how {doctype.name} is named here",
            f"set naming in [doctypes.{toml_key(doctype.name)}]: a series (SINV-.YYYY.-.#####), uuid, field:x …",
        )


def _column(table: DocumentType | ChildTable, name: str) -> Column:
    return next(column for column in table.columns if column.name == name)
