"""How values travel from and to PostgreSQL.

PostgreSQL writes a row as JSON by itself (`row_to_json`), and reads rows from JSON by itself
(`json_to_recordset`): quick, and exact. What it writes differently from how
values travel (`wire`) is changed here, in the rows of tables that have such columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from streamd.db.parts import cannot_hold
from streamd.errors import RowRefused
from streamd.model import Column, Kind
from streamd.wire import HEX, write_json

_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_validate = msgspec.json.Decoder(msgspec.Raw).decode

_NULL = b"null"
_INFINITE = Decimal("1e999")
"""How infinity travels: no 64-bit float is as large."""

_MOMENTS = (Kind.DATETIME, Kind.DATETIME_ZONED)

_SIMPLE_KINDS = (*_MOMENTS, Kind.BOOLEAN, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.DATE, Kind.UUID)
_SIMPLE_TEXT = re.compile(r"text|character varying(\(\d+\))?")
_PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f\x7f]+')

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL in JSON; not where the backslash is one itself."""

_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},:]', re.DOTALL)
"""The texts of a row, and what stands between its values."""

_ODD_NUMBERS = {b'"Infinity"': b"1e999", b'"-Infinity"': b"-1e999", b"-0": b"-0.0"}


@lru_cache(maxsize=4096)
def reader(columns: tuple[Column, ...]) -> Callable[[bytes], bytes]:
    """What turns a row as PostgreSQL writes it into the row as it travels."""
    changed = {column.name: change for column in columns if (change := _change(column)) is not None}
    generated = [column.name for column in columns if column.generated]
    # The `null` of JSON is written as SQL's NULL is, which cannot stand there.
    never_null = [column.name for column in columns if column.kind == Kind.JSON and not column.nullable]
    if not changed and not generated:
        return _same
    thorough = _thorough(changed, generated, never_null)
    return _quick(columns, thorough) if all(map(is_simple, columns)) else thorough


def _thorough(
    changed: Mapping[str, Callable[[bytes], bytes]], generated: Sequence[str], never_null: Sequence[str]
) -> Callable[[bytes], bytes]:
    """A reader that takes the row apart, and puts it together again."""

    def read(row: bytes) -> bytes:
        values = _cut(row)
        for name in generated:
            values.pop(name, None)
        for name, change in changed.items():
            value = values.get(name)
            if value is not None and (raw := bytes(value)) != _NULL:
                values[name] = msgspec.Raw(change(raw))
        for name in never_null:
            if name in values and bytes(values[name]) == _NULL:
                values[name] = msgspec.Raw(b'"null"')
        return _encode(values)

    return read


def _cut(row: bytes) -> dict[str, msgspec.Raw]:
    """A row's values by their columns, as PostgreSQL wrote them.

    A value of the type `json` is whatever its user wrote: of half a surrogate pair, or nested ever so deeply.
    """
    try:
        return _ROW.decode(row)
    except (msgspec.DecodeError, RecursionError):
        values: dict[str, msgspec.Raw] = {}
        depth, start, name = 0, 0, b""
        for found in _MARKS.finditer(row):
            mark = found[0]
            if depth == 1 and mark == b":":
                name, start = row[start : found.start()], found.end()
            elif depth == 1 and mark in (b",", b"}"):
                values[_TEXT.decode(name)] = msgspec.Raw(row[start : found.start()])
                start = found.end()
            if mark in (b"{", b"["):
                depth += 1
                start = start or found.end()
            elif mark in (b"}", b"]"):
                depth -= 1
        return values


def is_simple(column: Column) -> bool:
    """Whether a column is one of those that `_quick` can do."""
    if column.generated or not _PLAIN_NAME.fullmatch(column.name):
        return False
    if column.kind == Kind.TEXT:
        # A type of somebody's own may have a cast to JSON, and so become an object.
        return _SIMPLE_TEXT.fullmatch(column.declared) is not None
    return column.kind in _SIMPLE_KINDS


def _quick(columns: Sequence[Column], thorough: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A reader that leaves the row in one piece, which is several times as quick; nearly every row is read by it.

    No value of simple columns has an object in it, and within texts and names no quote stands without a backslash. So
    `"name":"` is found where the value of that column begins, and nowhere else. Infinite numbers are rare.
    """
    moments = [b'"%s":"' % column.name.encode() for column in columns if column.kind in _MOMENTS]

    def read(row: bytes) -> bytes:
        if b'Infinity"' in row or b":-0," in row or b":-0}" in row:
            return thorough(row)
        for before in moments:
            start = row.find(before) + len(before)
            if start >= len(before):
                between = row.find(b"T", start, row.index(b'"', start))
                if between > 0:
                    row = row[:between] + b" " + row[between + 1 :]
        return row

    return read


def _same(row: bytes) -> bytes:
    return row


def _change(column: Column) -> Callable[[bytes], bytes] | None:
    if column.kind in _MOMENTS:
        return lambda raw: raw.replace(b"T", b" ", 1)
    if column.kind == Kind.BYTES:
        return lambda raw: b'{"%s":"%s"}' % (HEX.encode(), raw[4:-1])  # behind "\\x
    if column.kind in (Kind.FLOAT, Kind.DECIMAL):
        return lambda raw: _ODD_NUMBERS.get(raw, raw)
    if column.kind == Kind.JSON:
        return lambda raw: _encode(raw.decode())
    if column.declared.startswith("character("):
        return lambda raw: _encode(_TEXT.decode(raw).rstrip(" "))
    return None


def rows_as_json(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> str:
    """Rows for `json_to_recordset`. Raises `RowRefused` for values that a column of that kind cannot hold."""
    binders = [(column.name, _binder(column.kind)) for column in columns]
    try:
        made = [{name: bind(value) for (name, bind), value in zip(binders, row, strict=True)} for row in rows]
        text = _encode(made).decode()
    except (RowRefused, UnicodeEncodeError):
        _refuse(columns, rows)
        raise
    if "\\u0000" in text:
        _refuse(columns, rows)
    return text


def _refuse(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """Say which of these values no column of its kind can hold."""
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            try:
                bound = _binder(column.kind)(value)
                text = _encode(bound).decode()
            except RowRefused as error:
                raise cannot_hold(column, value, error.message) from None
            except UnicodeEncodeError as error:
                raise cannot_hold(column, value, f"it is no valid text ({error.reason})") from None
            if _NUL.search(text):
                raise cannot_hold(column, value, "PostgreSQL keeps no NUL character. Remove it at the producer")


def by_json_nulls(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]]
) -> Iterable[tuple[frozenset[str], Sequence[Sequence[Any]]]]:
    """The rows by the columns in which they hold the `null` of JSON, which is another value than NULL."""
    # No other type that travels as JSON has such a value; a column that may be NULL gets that, if it is an array.
    places = [
        (index, column.name)
        for index, column in enumerate(columns)
        if column.kind == Kind.JSON and not (column.nullable and column.declared.endswith("[]"))
    ]
    if not places:
        return [(frozenset(), rows)]
    found: dict[frozenset[str], list[Sequence[Any]]] = {}
    for row in rows:
        nulls = frozenset(
            name for index, name in places if isinstance(row[index], str) and row[index].strip() == "null"
        )
        found.setdefault(nulls, []).append(row)
    return found.items()


def _binder(kind: Kind) -> Callable[[Any], Any]:
    return _BINDERS.get(kind, _plain)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is Decimal or value is None or kind is bool:
        return value
    if isinstance(value, dict) and value.keys() == {HEX}:
        return _bytes(value)
    return _text(value)


def _text(value: Any) -> Any:
    if value is None or type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict) and value.keys() == {HEX}:
        raise RowRefused("these are bytes, and it holds text")
    return write_json(value).decode()


def _boolean(value: Any) -> Any:
    return bool(value) if value in (0, 1) and not isinstance(value, str) else value


def _integer(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, Decimal) and value == value.to_integral_value()):
        return int(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, Decimal) and abs(value) == _INFINITE:
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if isinstance(value, bool) else value


def _bytes(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {HEX} and isinstance(value[HEX], str):
        return "\\x" + value[HEX]
    if value is None:
        return None
    if isinstance(value, str):
        return "\\x" + value.encode("utf-8", "surrogatepass").hex()
    raise RowRefused("it holds bytes, and this is none")


def _json(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {HEX}:
        raise RowRefused("these are bytes, and it holds JSON")
    if not isinstance(value, str):
        return value
    try:
        return _validate(value.encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise RowRefused(f"it is no JSON that can be written: {error}") from None


_BINDERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _text,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.FLOAT: _number,
    Kind.DECIMAL: _number,
    Kind.BYTES: _bytes,
    Kind.JSON: _json,
}


SESSION = {
    "application_name": "streamd",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    # How they, and our statements, are read.
    "standard_conforming_strings": "on",
    "xmloption": "content",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # What policies would leave out is an error, instead of a document that seems to be gone.
    "row_security": "off",
    "synchronous_commit": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
    # We look rows up by their keys. A plan that was made while a table was small would read all of it when
    # it is large; and before a table was analysed, the server thinks that a key has a great many rows.
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
}
"""What our sessions set, whatever the role or the database has set: how values are written and read, and that what is
committed is durable."""
