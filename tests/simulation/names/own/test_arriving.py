"""Documents get names of this site's own: tills whose numbers all begin at 1, and one headquarters."""

from __future__ import annotations

from streamd.wire import read_json
from tests.simulation.conftest import Opened
from tests.simulation.names.own.tills import RENAMED, TYPES, count, sale, sales
from tests.simulation.sites import SCHEMA, Site
from tests.support.matrix import EACH_ENGINE


@EACH_ENGINE
async def test_two_tills_that_both_begin_at_invoice_1_keep_all_their_invoices(hq: Site, tills: list[Site]) -> None:
    for number, till in enumerate(tills, 1):
        sale(till, customer=f"customer of {till.name}", quantity=number * 10)
        await hq.pull_all(till)
    assert await hq.queue() == []
    assert sales(hq) == sorted(row for till in tills for row in sales(till))
    assert count(hq, "Line") == 4


async def test_later_changes_reach_the_document_under_its_name_here(hq: Site, tills: list[Site]) -> None:
    for till in tills:
        sale(till)
        sale(till, 2)
        await hq.pull_all(till)
    north, south = tills
    south.write(
        "UPDATE Customer SET City = 'Turin' WHERE Id = 1",
        "UPDATE Line SET Quantity = 70 WHERE Id = 10",
        "DELETE FROM Line WHERE Id = 11",
        "INSERT INTO Line VALUES (12, 1, 'tea', 80)",
        "UPDATE Invoice SET Note = 'south, changed', Customer = 2 WHERE Id = 1",
    )
    north.write("DELETE FROM Line WHERE Invoice = 2", "DELETE FROM Invoice WHERE Id = 2")
    for till in tills:
        await hq.pull_all(till)
    assert await hq.queue() == []
    assert sales(hq) == sorted(row for till in tills for row in sales(till))
    assert hq.rows("SELECT City FROM Customer WHERE Name = 'Ada' AND City IS NOT NULL") == [("Turin",)]


async def test_what_is_linked_to_and_was_never_sent_is_fetched_and_named_too(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    north.write(
        "INSERT INTO Customer VALUES (1, 'boss', NULL, NULL)", "INSERT INTO Customer VALUES (2, 'Ada', NULL, 1)"
    )
    await hq.pass_over(north)
    north.write("INSERT INTO Invoice VALUES (1, 2, 'first')")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows(
        'SELECT c."Name", m."Name" FROM "Invoice" i JOIN "Customer" c ON c."Id" = i."Customer" '
        'JOIN "Customer" m ON m."Id" = c."Manager"'
    ) == [("Ada", "boss")]
    assert count(hq, "Customer") == 3


async def test_links_in_a_circle_are_followed(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    north.write(
        "INSERT INTO Customer VALUES (1, 'one', NULL, 2)",
        "INSERT INTO Customer VALUES (2, 'two', NULL, 1)",
        "INSERT INTO Customer VALUES (3, 'own', NULL, 3)",
    )
    await hq.pull_all(north)
    assert await hq.queue() == []
    managers = 'SELECT c."Name", m."Name" FROM "Customer" c JOIN "Customer" m ON m."Id" = c."Manager" ORDER BY 1'
    assert hq.rows(managers) == [("one", "two"), ("own", "own"), ("two", "one")]


async def test_another_name_at_the_producer_is_no_other_name_here(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    before = hq.rows("SELECT Id, Customer, Note FROM Invoice")
    north.write("UPDATE Invoice SET Id = 500 WHERE Id = 1", "UPDATE Line SET Invoice = 500 WHERE Invoice = 1")
    north.write("UPDATE Invoice SET Note = 'after it' WHERE Id = 500")
    # The old name is free there, and names another document.
    sale(north, 3)
    north.write("UPDATE Invoice SET Id = 1 WHERE Id = 3", "UPDATE Line SET Invoice = 1 WHERE Invoice = 3")
    await hq.pull_all(north)
    assert await hq.queue() == []
    ((number, customer, _),) = before
    assert hq.rows(f"SELECT Customer, Note FROM Invoice WHERE Id = {number}") == [(customer, "after it")]
    assert sales(hq) == sales(north)


async def test_a_name_that_is_free_again_is_another_document_even_in_one_batch(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    north.write("UPDATE Invoice SET Id = 500 WHERE Id = 1", "UPDATE Line SET Invoice = 500 WHERE Invoice = 1")
    north.write("INSERT INTO Invoice VALUES (1, 1, 'the new one')", "INSERT INTO Line VALUES (1, 1, 'tea', 9)")
    north.write(
        "UPDATE Line SET Quantity = 90 WHERE Quantity = 9", "UPDATE Invoice SET Note = 'the old one' WHERE Id = 500"
    )
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert count(hq, "Invoice") == 2
    assert sales(hq) == sales(north)
    north.write("UPDATE Invoice SET Note = 'the new one, later' WHERE Id = 1")
    await hq.pull_all(north)
    assert sales(hq) == sales(north)


async def test_edits_that_come_together_with_their_document_are_of_that_document(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer (Name) VALUES ('of hq')")
    sale(north)
    north.write("INSERT INTO Customer VALUES (2, 'Eva', NULL, NULL)")
    await north.capture.drain()
    north.write("UPDATE Invoice SET Note = 'changed', Customer = 2 WHERE Id = 1", "DELETE FROM Line WHERE Id = 11")
    await north.capture.drain()
    north.write("UPDATE Customer SET City = 'Rome' WHERE Id = 2")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert sales(hq) == sales(north)
    assert hq.rows('SELECT count(*) FROM "Invoice"') == [(1,)]
    sale(north, 3)
    await north.capture.drain()
    north.write("DELETE FROM Line WHERE Invoice = 3", "DELETE FROM Invoice WHERE Id = 3")
    north.write("DELETE FROM Line WHERE Invoice = 1", "DELETE FROM Invoice WHERE Id = 1")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows('SELECT count(*) FROM "Invoice"') == [(0,)]


async def test_edits_that_come_with_their_document_find_it_although_it_stands_here_with_other_values(
    opened: Opened, tills: list[Site]
) -> None:
    north, _ = tills
    schema = SCHEMA.replace('"Note" TEXT', '"Note" TEXT, "remote_docname" TEXT')
    types = TYPES | {"Invoice": {**TYPES["Invoice"], "accept_changes": True}}
    hq = await opened("hq", schema=schema, doctypes=types, renamed=RENAMED)
    hq.write(
        'CREATE TRIGGER loud AFTER INSERT ON "Invoice" BEGIN '
        'UPDATE "Invoice" SET "Note" = upper("Note") WHERE "Id" = NEW."Id"; END'
    )
    sale(north)
    sale(north, 2)
    await north.capture.drain()
    north.write("UPDATE Invoice SET Note = 'changed' WHERE Id = 1")
    north.write("DELETE FROM Line WHERE Invoice = 2", "DELETE FROM Invoice WHERE Id = 2")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows('SELECT "Note", "remote_docname" FROM "Invoice"') == [("changed", "1")]
    north.write("DELETE FROM Line WHERE Invoice = 1", "DELETE FROM Invoice WHERE Id = 1")
    await hq.pull_all(north)
    assert hq.rows('SELECT count(*) FROM "Invoice"') == [(0,)]


async def test_a_document_that_is_deleted_and_made_again_there_is_one_here(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    north.write("INSERT INTO Invoice VALUES (1, 1, 'again')", "INSERT INTO Line VALUES (99, 1, 'tea', 5)")
    await hq.pull_all(north)
    assert sales(hq) == sales(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    await hq.pull_all(north)
    assert (count(hq, "Invoice"), count(hq, "Line")) == (0, 0)


async def test_a_number_of_a_deleted_document_is_that_of_another_one_which_was_parked_before(
    opened: Opened, tills: list[Site]
) -> None:
    """SQLite gives the number of a deleted last row again; what is remembered of that one is not for the next one."""
    hq = await opened("numbered", doctypes=TYPES, renamed=RENAMED)
    north, _ = tills
    hq.write("CREATE TRIGGER no BEFORE INSERT ON Customer WHEN NEW.Name = 'no' BEGIN SELECT raise(ABORT, 'no'); END")
    north.write("INSERT INTO Customer VALUES (1, 'no', NULL, NULL)", "INSERT INTO Customer VALUES (2, 'b', NULL, NULL)")
    await hq.pull_all(north)
    north.write("DELETE FROM Customer WHERE Id = 2")
    await hq.pull_all(north)
    assert hq.rows("SELECT * FROM Customer") == []
    hq.write("DROP TRIGGER no")
    await hq.heal(north)
    assert await hq.queue() == []
    assert hq.rows("SELECT Id, Name FROM Customer") == [(1, "no")]


async def test_the_sync_log_says_both_names(hq: Site, tills: list[Site]) -> None:
    north, south = tills
    for till in (north, south):
        sale(till)
        await hq.pull_all(till)
    entries = list(await hq.sync_log.list(doctype="Invoice"))
    assert {(entry.remote_docname, entry.use_same_name) for entry in entries if entry.producer == "south"} == {
        ("[1]", False)
    }
    assert len({entry.docname for entry in entries}) == 2


async def test_the_logs_say_what_came_of_which_document_and_with_what_data(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    north.write("UPDATE Invoice SET Note = 'corrected' WHERE Id = 1")
    await hq.pull_all(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    await hq.pull_all(north)
    entries = sorted(await hq.sync_log.list(doctype="Invoice"), key=lambda entry: entry.id)
    said = [(entry.update_type, entry.status, entry.producer, entry.remote_docname) for entry in entries]
    assert said == [(kind, "Synced", "north", "[1]") for kind in ("create", "update", "delete")]
    created, updated, deleted = (read_json(entry.data) for entry in entries)
    assert (created["Note"], [line["Quantity"] for line in created["lines"]]) == ("north 1", [1, 2])
    assert updated["changed"] == {"Note": "corrected"}
    assert deleted["old"]["Note"] == "corrected"
    logged = [entry for entry in await north.update_log.entries() if entry.doctype == "Invoice"][::-1]
    assert [(entry.operation, entry.name) for entry in logged] == [(kind, "[1]") for kind, *_ in said]
    assert [read_json(entry.data) for entry in logged] == [created, updated, deleted]
