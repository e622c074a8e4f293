"""What was written is what was meant: whatever triggers make of a row, it arrives as it was sent, or is parked."""

from __future__ import annotations

import pytest

from streamd.apply import segment
from tests.simulation.sites import Site
from tests.simulation.writing.meant.triggers import SCHEMA, TYPES, Pair, after, insert, refused
from tests.support.database_url import Engine
from tests.support.matrix import engines_and

PARENT_AND_CHILD = pytest.mark.parametrize("table", ["sheet", "cell"])

SWALLOWING = pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
"""The engines with triggers that take a write and do nothing, without an error."""


def before(site: Site, table: str, event: str, condition: str, effect: str) -> None:
    """A trigger of the user's that sets something in the row that is written, or makes nothing of it ("swallow")."""
    engine = site.access.engine
    row = "old" if event == "DELETE" else "new"
    condition = condition.replace("row.", f"{row}.")
    if engine == "postgresql":
        act = "RETURN NULL" if effect == "swallow" else f"new.{effect}"
        site.access.raw(
            f"CREATE FUNCTION {table}_{event} () RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {condition} THEN {act}; END IF; RETURN {row}; END $$"
        )
        site.access.raw(
            f"CREATE TRIGGER acts_{event} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_{event} ()"
        )
    elif engine == "mariadb":
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} FOR EACH ROW "
            f"BEGIN IF {condition} THEN SET new.{effect}; END IF; END"
        )
    elif effect == "swallow":
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(IGNORE); END"
        )
    else:
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} WHEN {condition} BEGIN "
            f"UPDATE {table} SET {effect} WHERE id = new.id; END"
        )


@pytest.mark.parametrize(("engine", "together"), engines_and([True, False]))
async def test_a_trigger_of_a_rows_own_parks_it_however_events_are_batched(
    pair: Pair, engine: Engine, together: bool
) -> None:
    hq, store = await pair(engine)
    before(store, "sheet", "INSERT", "row.note = 'odd'", "note = 'changed here'")
    statements = [*insert("sheet", "odd"), *insert("sheet", "plain", 2)]
    for some in [statements] if together else [[each] for each in statements]:
        hq.write(*some)
        await store.pull_all(hq)
    assert "the row of sheet with id 1" in await refused(store)
    assert store.rows("SELECT id, note FROM sheet") == [(2, "plain")]


@SWALLOWING
@PARENT_AND_CHILD
async def test_a_row_that_is_swallowed_is_parked_and_nothing_else(pair: Pair, engine: Engine, table: str) -> None:
    hq, store = await pair(engine)
    before(store, table, "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert(table, "bad"))
    hq.write(*insert(table, "good", 2))
    hq.write("INSERT INTO mark (id) VALUES (1)")
    await store.pull_all(hq)
    assert f"the row of {table} with id 1" in await refused(store)
    assert store.rows(f"SELECT id FROM {table}") == [(2,)]
    assert store.rows("SELECT id FROM sheet") == [(2,)]
    assert store.rows("SELECT id FROM mark") == [(1,)]


@SWALLOWING
@PARENT_AND_CHILD
@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
async def test_a_change_that_is_swallowed_is_parked(pair: Pair, engine: Engine, table: str, event: str) -> None:
    hq, store = await pair(engine)
    hq.write(*insert(table, "x"))
    await store.pull_all(hq)
    before(store, table, event, "row.id = 1", "swallow")
    hq.write(
        f"UPDATE {table} SET note = 'y' WHERE id = 1" if event == "UPDATE" else f"DELETE FROM {table} WHERE id = 1"
    )
    await store.pull_all(hq)
    assert await refused(store)
    assert store.rows(f"SELECT note FROM {table}") == [("x",)]


@pytest.mark.parametrize(("engine", "table", "event"), engines_and(["cell", "sheet"], ["UPDATE", "INSERT"]))
async def test_a_value_that_a_trigger_always_changes_is_parked_with_both_values(
    pair: Pair, engine: Engine, table: str, event: str
) -> None:
    hq, store = await pair(engine)
    if event == "UPDATE":
        hq.write(*insert(table, "first"))
        await store.pull_all(hq)
    for each in ("INSERT", "UPDATE"):
        before(store, table, each, "row.note = 'sent'", "note = 'kept'")
    hq.write(*(insert(table, "sent") if event == "INSERT" else [f"UPDATE {table} SET note = 'sent' WHERE id = 1"]))
    hq.write(*insert(table, "other", 2))
    await store.pull_all(hq)
    said = await refused(store)
    assert [word in said for word in ('"sent"', '"kept"', "accept_changes")] == [True, True, True]
    assert store.rows(f"SELECT note FROM {table} WHERE id = 2") == [("other",)]


@PARENT_AND_CHILD
async def test_where_triggers_have_the_last_word_what_they_change_is_noted(
    pair: Pair, engine: Engine, table: str
) -> None:
    hq, store = await pair(engine, here=TYPES | {"sheet": TYPES["sheet"] | {"accept_changes": True}})
    before(store, table, "INSERT", "row.note = 'sent'", "note = 'kept'")
    before(store, table, "UPDATE", "row.note = 'sent again'", "note = 'kept again'")
    hq.write(*insert(table, "sent"))
    await store.pull_all(hq)
    assert store.rows(f"SELECT note FROM {table}") == [("kept",)]
    hq.write(f"UPDATE {table} SET note = 'sent again' WHERE id = 1")
    await store.pull_all(hq)
    assert store.rows(f"SELECT note FROM {table}") == [("kept again",)]
    assert await refused(store) == ""
    notes = [entry.note for entry in await store.sync_log.list()]
    assert ["accept_changes" in note for note in notes] == [True, True]


OWN_COLUMNS = """
CREATE TABLE sheet (id INTEGER PRIMARY KEY, a VARCHAR(40), b VARCHAR(40){own});
CREATE TABLE cell (
    id INTEGER PRIMARY KEY, sheet INTEGER NOT NULL REFERENCES sheet (id), a VARCHAR(40), b VARCHAR(40){own})
"""

SHEETS = {"sheet": TYPES["sheet"]}

ROWS = (
    "INSERT INTO sheet (id, a, b) VALUES (1, 'a', 'b'), (2, 'a', 'b')",
    "INSERT INTO cell (id, sheet, a, b) VALUES (1, 1, 'a', 'b'), (2, 2, 'a', 'b')",
)


@pytest.mark.parametrize(
    ("engine", "table", "condition", "others"),
    engines_and(
        ["cell", "sheet"],
        ["row.id = 1 AND row.a <> old.a", "row.id = 1"],
        [("UPDATE sheet SET a = 'y' WHERE id = 2",), ()],
    ),
)
async def test_a_column_that_did_not_come_and_is_changed_here_parks_the_row(
    pair: Pair, engine: Engine, table: str, condition: str, others: tuple[str, ...]
) -> None:
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS)
    hq.write(*ROWS)
    await store.pull_all(hq)
    before(store, table, "UPDATE", condition, "b = 'mine'")
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1", *others)
    await store.pull_all(hq)
    said = await refused(store)
    assert [word in said for word in ('"mine"', '"b"', "in b", "trigger")] == [True, True, True, True]
    assert store.rows(f"SELECT a, b FROM {table} WHERE id = 1") == [("a", "b")]
    assert store.rows("SELECT a FROM sheet WHERE id = 2") == [("y" if others else "a",)]


@PARENT_AND_CHILD
async def test_where_triggers_have_the_last_word_a_column_that_did_not_come_is_noted(
    pair: Pair, engine: Engine, table: str
) -> None:
    here = {"sheet": TYPES["sheet"] | {"accept_changes": True}}
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS, here=here)
    hq.write(*ROWS)
    await store.pull_all(hq)
    before(store, table, "UPDATE", "row.id = 1", "b = 'mine'")
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows(f"SELECT a, b FROM {table} WHERE id = 1") == [("z", "mine")]
    assert any(f"{table}.b" in entry.note for entry in await store.sync_log.list())


@PARENT_AND_CHILD
async def test_a_stamp_in_a_column_that_the_producer_does_not_have_is_the_sites_own(
    pair: Pair, engine: Engine, table: str
) -> None:
    there = OWN_COLUMNS.format(own=", updated_here VARCHAR(40)")
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS, there=there)
    before(store, table, "UPDATE", "row.id = 1", "updated_here = 'now'")
    hq.write(*ROWS)
    await store.pull_all(hq)
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows(f"SELECT a, b, updated_here FROM {table} WHERE id = 1") == [("z", "b", "now")]


@SWALLOWING
async def test_where_triggers_have_the_last_word_a_missing_row_is_parked_all_the_same(
    pair: Pair, engine: Engine
) -> None:
    hq, store = await pair(engine, here=TYPES | {"sheet": TYPES["sheet"] | {"accept_changes": True}})
    before(store, "cell", "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert("cell", "bad"))
    await store.pull_all(hq)
    assert "is not there" in await refused(store)
    assert store.rows("SELECT id FROM sheet") == []


@SWALLOWING
@PARENT_AND_CHILD
async def test_a_deleted_row_that_comes_back_is_parked(pair: Pair, engine: Engine, table: str) -> None:
    hq, store = await pair(engine)
    hq.write(*insert(table, "x"))
    await store.pull_all(hq)
    columns = {"sheet": "id, note", "cell": "id, sheet, note"}[table]
    values = ", ".join(f"old.{column}" for column in columns.split(", "))
    after(store, table, "DELETE", f"INSERT INTO {table} ({columns}) VALUES ({values})")
    hq.write(f"DELETE FROM {table} WHERE id = 1")
    await store.pull_all(hq)
    assert "is still there" in await refused(store)


async def test_a_total_that_triggers_of_both_sites_keep_is_that_of_the_producer(pair: Pair, engine: Engine) -> None:
    hq, store = await pair(engine)
    for site in (hq, store):
        after(site, "cell", "INSERT", "UPDATE sheet SET total = total + new.worth WHERE id = new.sheet")
    hq.write(*insert("sheet", "x"), "INSERT INTO cell (id, sheet, note, worth) VALUES (1, 1, 'a', 5)")
    await store.pull_all(hq)
    hq.write(*(f"INSERT INTO cell (id, sheet, note, worth) VALUES ({n}, 1, 'b', {n})" for n in range(2, 5)))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT total FROM sheet") == hq.rows("SELECT total FROM sheet") == [(14,)]
    assert any("written again" in entry.note for entry in await store.sync_log.list())


STOCK = """
CREATE TABLE product (id INTEGER PRIMARY KEY, stock INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, product INTEGER REFERENCES product (id), quantity INTEGER)
"""


async def test_a_stock_that_triggers_of_both_sites_lower_is_that_of_the_producer(pair: Pair, engine: Engine) -> None:
    hq, store = await pair(engine, STOCK, {"product": {}, "sale": {}})
    for site in (hq, store):
        after(site, "sale", "INSERT", "UPDATE product SET stock = stock - new.quantity WHERE id = new.product")
    hq.write("INSERT INTO product (id, stock) VALUES (1, 100)")
    await store.pull_all(hq)
    for number in range(1, 6):
        hq.write(f"INSERT INTO sale (id, product, quantity) VALUES ({number}, 1, 3)")
        await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT stock FROM product") == [(85,)]
    assert store.rows("SELECT count(*) FROM sale") == [(5,)]


@SWALLOWING
async def test_without_reading_back_a_swallowed_row_would_be_called_synced(
    pair: Pair, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> dict[object, str]:
        return {}

    monkeypatch.setattr(segment, "verify", nothing)
    hq, store = await pair(engine)
    before(store, "sheet", "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert("sheet", "bad"))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT id FROM sheet") == []


async def test_a_rename_is_read_again_under_the_new_name(pair: Pair, engine: Engine) -> None:
    schema = SCHEMA.replace("REFERENCES sheet (id)", "REFERENCES sheet (id) ON UPDATE CASCADE")
    hq, store = await pair(engine, schema)
    hq.write(*insert("cell", "x"))
    await store.pull_all(hq)
    hq.write("UPDATE sheet SET id = 7 WHERE id = 1", *(["UPDATE cell SET sheet = 7"] if engine == "mariadb" else []))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT id, sheet FROM cell") == [(1, 7)]
