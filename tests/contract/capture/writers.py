"""Users who write at once: short and long transactions, rollbacks, deadlocks, hot rows; and a replay of the log."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from streamd.model import LogEntry, Name, Operation, name_from_text
from streamd.wire import read_json
from tests.support.access import Access, Connection

HOT = 4
"""Documents that every writer changes."""

SCHEMA = """
CREATE TABLE "Ticket" ("Id" INTEGER PRIMARY KEY, "Text" VARCHAR(60) NOT NULL, "Seen" INTEGER NOT NULL);
CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Ticket" INTEGER NOT NULL REFERENCES "Ticket" ("Id"), "Amount" INTEGER)
"""

DOCTYPES = {"Ticket": {"children": {"parts": {"table": "Part", "key": "Id", "parent_key": "Ticket"}}}}


class Writers:
    """Threads that write until they have done their share. What they committed is counted."""

    def __init__(self, access: Access, writers: int, transactions: int, seed: int) -> None:
        self.access = access
        self.committed: Counter[str] = Counter()
        self.made: set[int] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._write, args=(number, transactions, random.Random(seed * 100 + number)))
            for number in range(writers)
        ]

    def start(self) -> None:
        with self.access.write() as connection:
            for hot in range(HOT):
                connection.execute("INSERT INTO Ticket VALUES (?, 'hot', 0)", (hot,))
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self, number: int, transactions: int, chance: random.Random) -> None:
        own: list[int] = []
        for count in range(transactions):
            kind = chance.choices(("new", "hot", "change", "delete", "long"), (4, 4, 2, 1, 2))[0]
            document = own[-1] if kind == "delete" and own else (number + 1) * 100_000 + count
            try:
                with self.access.write() as connection:
                    if kind in ("new", "long"):
                        make(connection, document, f"by {number}", chance.randint(0, 3))
                    if kind in ("hot", "long"):
                        change_hot(connection, f"{number}/{count}", chance, slowly=kind == "long")
                    if kind == "change" and own:
                        change(connection, chance.choice(own))
                    if kind == "delete":
                        delete(connection, document)
                    if chance.random() < 0.15:
                        raise RolledBack
            except (RolledBack, *self.access.errors):
                continue  # nothing of it was committed
            self._count(kind, document, own)

    def _count(self, kind: str, document: int, own: list[int]) -> None:
        with self._lock:
            self.committed[kind] += 1
            if kind in ("new", "long"):
                self.made.add(document)
        if kind in ("new", "long"):
            own.append(document)
        if kind == "delete" and own:
            own.pop()


def make(connection: Connection, document: int, text: str, parts: int) -> None:
    connection.execute("INSERT INTO Ticket VALUES (?, ?, 0)", (document, text))
    for part in range(parts):
        connection.execute("INSERT INTO Part VALUES (?, ?, ?)", (document * 10 + part, document, part))


def change_hot(connection: Connection, text: str, chance: random.Random, *, slowly: bool) -> None:
    """Two of the documents that every writer changes, in any order: two writers may wait for each other."""
    for hot in chance.sample(range(HOT), 2):
        connection.execute("UPDATE Ticket SET Seen = Seen + 1, Text = ? WHERE Id = ?", (text, hot))
        if slowly:
            time.sleep(chance.uniform(0.01, 0.12))


def change(connection: Connection, document: int) -> None:
    connection.execute("UPDATE Part SET Amount = Amount + 1 WHERE Ticket = ?", (document,))
    connection.execute("UPDATE Ticket SET Seen = Seen + 1 WHERE Id = ?", (document,))


def delete(connection: Connection, document: int) -> None:
    connection.execute("DELETE FROM Part WHERE Ticket = ?", (document,))
    connection.execute("DELETE FROM Ticket WHERE Id = ?", (document,))


class RolledBack(Exception):
    """The user has changed his mind."""


def replay(entries: Iterable[LogEntry]) -> dict[Name, dict[str, Any]]:
    """The documents that the log's events make, one after the other. Fails where an event does not fit."""
    documents: dict[Name, dict[str, Any]] = {}
    for entry in entries:
        name, data = name_from_text(entry.name), read_json(entry.data)
        if entry.operation == Operation.CREATE:
            assert name not in documents, f"{name} was made twice"
            documents[name] = data
        elif entry.operation == Operation.DELETE:
            assert documents.pop(name, None) is not None, f"{name} was deleted, and was not there"
        else:
            _change(documents[name], data)
    return documents


def _change(document: dict[str, Any], difference: dict[str, Any]) -> None:
    for column, value in difference.get("changed", {}).items():
        old = difference["old"]["changed"][column]
        assert document[column] == old, f"{column} was {document[column]}, and the event says {old}"
        document[column] = value
    parts = {row["Id"]: row for row in document["parts"]}
    for row in difference.get("added", {}).get("parts", []):
        parts[row["Id"]] = row
    for (key,) in difference.get("removed", {}).get("parts", []):
        del parts[key]
    for row in difference.get("row_changed", {}).get("parts", []):
        parts[row["Id"]] |= row
    document["parts"] = [parts[key] for key in sorted(parts)]
