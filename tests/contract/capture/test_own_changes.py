"""A transaction of ours tells the changes that it made itself, by triggers too, from those of everybody else."""

from __future__ import annotations

import json

import pytest

from streamd.db.base import TableWrite, WriteKind
from tests.contract.conftest import Installed
from tests.support.database_url import Engine

MARK = json.dumps({"origin": {"site": "s", "log": "l", "sequence": 1, "path": ["s"]}, "clock": ""})
OTHERS = "INSERT INTO Customer VALUES (9, 'Zoe', NULL, NULL)"


def _insert(installed: Installed, key: int) -> TableWrite:
    doctype = installed.catalogue["Customer"]
    return TableWrite(WriteKind.INSERT, doctype.table, doctype.columns, (), [[key, "Ada", None, None]])


async def test_only_changes_of_the_transaction_itself_are_given(installed: Installed, engine: Engine) -> None:
    installed.write("INSERT INTO Customer VALUES (5, 'before', NULL, NULL)")
    async with installed.database.transaction() as transaction:
        after = await transaction.last_change()
        await transaction.mark({("Customer", (1,)): MARK})
        await transaction.write([_insert(installed, 1), _insert(installed, 2)])
        if engine != "sqlite":
            # Somebody else commits in between, and this transaction can see it.
            installed.write(OTHERS)
        found = await transaction.own_changes(after, marked=True)
        unmarked = await transaction.own_changes(after, marked=False)
    assert [(change.op, bool(change.origin), json.loads(change.after or b"null")["Id"]) for change in found] == [
        ("I", True, 1),
        ("I", False, 2),
    ]
    assert unmarked == found[1:]


async def test_what_was_undone_was_not_made(installed: Installed) -> None:
    async with installed.database.transaction() as transaction:
        after = await transaction.last_change()
        with pytest.raises(ZeroDivisionError):
            async with transaction.savepoint():
                await transaction.write([_insert(installed, 1)])
                raise ZeroDivisionError
        assert await transaction.own_changes(after, marked=True) == []


async def test_the_actions_of_foreign_keys_are_described(installed: Installed, engine: Engine) -> None:
    installed.write(
        "CREATE TABLE extra (id INTEGER PRIMARY KEY, one INTEGER, two INTEGER, three INTEGER, "
        'FOREIGN KEY (one) REFERENCES "Customer" ("Id") ON DELETE CASCADE ON UPDATE SET NULL, '
        'FOREIGN KEY (two) REFERENCES "Customer" ("Id") ON DELETE SET NULL ON UPDATE CASCADE, '
        'FOREIGN KEY (three) REFERENCES "Customer" ("Id"))'
    )
    keys = {key.columns[0]: key for key in (await installed.database.tables())["extra"].foreign_keys}
    assert (keys["one"].on_delete, keys["one"].on_update) == ("CASCADE", "SET NULL")
    assert (keys["two"].on_delete, keys["two"].on_update) == ("SET NULL", "CASCADE")
    assert {keys["three"].on_delete, keys["three"].on_update} <= {"", "NO ACTION", "RESTRICT"}
    assert {key.silent for key in keys.values()} == {engine == "mariadb"}
