"""Rows that users write to a site, and writes of streamd's own."""

from __future__ import annotations

import json

import pytest

from streamd.db.base import TableWrite, WriteKind
from streamd.model import Change
from tests.contract.conftest import Installed

ON_A_SERVER = pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
"""SQLite has one writer, and no connections to lose."""

ADA = "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)"

EVA = "INSERT INTO Customer VALUES (2, 'Eva', NULL, 1)"

TEA = "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)"

INVOICE = "INSERT INTO Invoice VALUES (1, 1, 'first')"

MARK = json.dumps({"origin": {"site": "s", "log": "l", "sequence": 1, "path": ["s"]}, "clock": ""})


async def waiting(installed: Installed) -> list[Change]:
    return list((await installed.database.read_changes(await installed.claim(), 1000)).rows)


def write_to(
    installed: Installed, kind: WriteKind, table: str, columns: list[str], where: list[str], *rows: list[object]
) -> TableWrite:
    doctype = installed.catalogue["Invoice" if table == "Line" else table]
    known = {column.name: column for column in (doctype.children[0].columns if table == "Line" else doctype.columns)}
    return TableWrite(
        kind, table, tuple(known[name] for name in columns), tuple(known[name] for name in where), rows, exactly=True
    )


def rename_of(installed: Installed, customer: int, name: str) -> TableWrite:
    return write_to(installed, WriteKind.UPDATE, "Customer", ["Name"], ["Id"], [name, customer])
