"""Where changes at a MariaDB site would go unseen, and what else its settings mean for streamd."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from asyncmy.errors import Error

from streamd.db.bound import User, bound_tables, rights_missing, wanted_rights
from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.errors import number_of
from streamd.db.mariadb.sql import NAME_BYTES, quote
from streamd.db.mariadb.watermark import NOT_ALLOWED
from streamd.errors import Problem
from streamd.model import Catalogue, Column, DocumentType, ForeignKey, Kind, Table

_VARIABLES = (
    "SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME IN "
    "('WSREP_ON', 'READ_ONLY', 'AUTO_INCREMENT_INCREMENT', 'LOG_BIN', 'BINLOG_FORMAT', 'MAX_ALLOWED_PACKET', "
    "'INNODB_FLUSH_LOG_AT_TRX_COMMIT', 'INNODB_AUTOINC_LOCK_MODE', 'SLAVE_RUN_TRIGGERS_FOR_RBR')"
)
_REPLICATING = (
    "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('SLAVES_RUNNING') "
    "AND VARIABLE_VALUE NOT IN ('0', 'OFF')"
)
_ENGINES = "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
_LONGEST = 65_535
_HARMLESS = ("", "RESTRICT", "NO ACTION")


async def blind_spots(session: Session, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
    """Why changes would be lost or out of order here, each with the hint; nothing may be installed before."""
    found = breaks_order(dict(await session.fetch(_VARIABLES)), bool(await session.fetch(_REPLICATING)))
    engines = dict(await session.fetch(_ENGINES))
    for name, users in bound_tables(catalogue).items():
        engine = engines.get(name) or "no engine"
        if engine.lower() != "innodb":
            found.append(
                f"the table {name} is kept by {engine}, which knows no transactions: changes that were undone would "
                f"travel (hint: ALTER TABLE {name} ENGINE = InnoDB)"
            )
        if name in tables:
            found += [text for doctype, child in users if child is None for text in _names(doctype)]
            found += [text for key in tables[name].foreign_keys for text in _cascades(tables[name], key, users)]
    return found


def breaks_order(settings: Mapping[str, str], replicating: bool) -> list[str]:
    """Why changes would be missed, or come in no order, on a server with these settings; each with its hint."""
    found = []
    if settings.get("wsrep_on") == "ON":
        found.append(
            "the server is part of a Galera cluster: changes that come from other nodes fire no triggers "
            "(hint: none; streamd has to stand beside a server that is written to directly)"
        )
    if replicating or settings.get("read_only") not in (None, "OFF", "0"):
        found.append(
            "the server is a replica, or read-only: what arrives by replication fires no triggers "
            "(hint: let site.database name the primary)"
        )
    if int(settings.get("auto_increment_increment") or 1) > 1:
        found.append(
            "auto_increment_increment is not 1: the server is one of several that are written to, and each sees the "
            "changes of its own users only (hint: one primary, and auto_increment_increment = 1)"
        )
    if settings.get("log_bin") == "ON" and settings.get("binlog_format") == "STATEMENT":
        found.append(
            "binlog_format is STATEMENT: the server then refuses to write in READ COMMITTED, as streamd does "
            "(hint: binlog_format = MIXED or ROW)"
        )
    return found


def _names(doctype: DocumentType) -> Iterator[str]:
    """A key that can hold longer names than can be remembered."""
    known = {column.name: column for column in doctype.columns}
    # As JSON: brackets and commas around the parts.
    size = len(doctype.key) + 1 + sum(_most_bytes(known[name]) for name in doctype.key)
    if size > NAME_BYTES:
        columns = ", ".join(f"{name} {known[name].declared}" for name in doctype.key)
        most = (NAME_BYTES - 4) // 4
        yield (
            f"names of {doctype.name} can have {size} bytes ({columns}), and when the fields of a document were edited "
            f"is remembered for names of up to {NAME_BYTES} (hint: declare the key with at most {most} characters in "
            "all, or name the documents by another key)"
        )


def _most_bytes(column: Column) -> int:
    """The bytes that a value of a key column can have as JSON, as long as none of its characters is escaped."""
    if column.kind != Kind.TEXT:
        return 40
    if column.declared.startswith(("enum(", "set(")):
        return len(column.declared.encode())
    found = re.match(r"(?:var)?char\((\d+)\)", column.declared)
    if found is None:
        return 2 + 4 * (_LONGEST if "text" in column.declared else 40)
    return 2 + int(found[1]) * (3 if "character set" in column.declared else 4)


def _cascades(table: Table, key: ForeignKey, users: Sequence[User]) -> Iterator[str]:
    """A foreign key by which the server itself changes rows: it fires no triggers then."""
    inside = all(
        child is not None
        and key.table == doctype.table
        and _same_columns(key, tuple(zip(child.parent_key, doctype.key, strict=True)))
        for doctype, child in users
    )
    columns = ", ".join(key.columns)
    for happens, rule in (("are deleted", key.on_delete), ("change their keys", key.on_update)):
        # The parent's own change says that its rows go, or get its new name; nothing says that they lose it.
        told = inside and (happens == "are deleted" or rule.upper() == "CASCADE")
        if rule.upper() not in _HARMLESS and not told:
            event = "DELETE" if happens == "are deleted" else "UPDATE"
            yield (
                f"where rows of {key.table} {happens}, the server changes {table.name} by itself (foreign key "
                f"{columns}, ON {event} {rule}), and MariaDB fires no triggers then: other sites would not hear of it "
                f"(hint: make it ON {event} RESTRICT, and let the application change the rows of {table.name} first)"
            )


def _same_columns(key: ForeignKey, pairs: Sequence[tuple[str, str]]) -> bool:
    return set(zip(key.columns, key.referred, strict=True)) == set(pairs)


async def warnings(session: Session) -> list[str]:
    """What people should know, though everything works."""
    settings = dict(await session.fetch(_VARIABLES))
    found = []
    flush = settings.get("innodb_flush_log_at_trx_commit")
    if flush != "1":
        found.append(
            f"innodb_flush_log_at_trx_commit is {flush}: after a power cut the server may have lost commits that other "
            "sites have already seen (advised: 1)"
        )
    if settings.get("innodb_autoinc_lock_mode") == "0":
        found.append("innodb_autoinc_lock_mode is 0: users who write at the same time wait for each other (advised: 1)")
    if int(settings.get("max_allowed_packet") or 0) < 16 << 20:
        found.append(
            "max_allowed_packet is less than 16 MiB: rows that are larger as JSON cannot travel, and become gaps "
            "(advised: 64M)"
        )
    try:
        await session.fetch("SELECT COUNT(*) FROM information_schema.INNODB_TRX")
    except Error as error:
        if number_of(error) not in NOT_ALLOWED:
            raise
        found.append(
            "the user of site.database lacks the privilege PROCESS: that TRUNCATE emptied a table, or that a partition "
            "was truncated, exchanged or dropped, is not noticed, and other sites keep the rows; and while somebody "
            "reads for long (a dump), looking for changes becomes ever "
            "slower (hint: GRANT PROCESS ON *.* TO that user)"
        )
    return found


async def missing_rights(session: Session, catalogue: Catalogue, written: Collection[str]) -> list[Problem]:
    """What the daemon's user may not do with the tables of these types. Each statement is explained, and not run."""
    found = []
    columns = {doctype.table: doctype.columns for doctype in catalogue.doctypes.values()}
    columns |= {child.table: child.columns for each in catalogue.doctypes.values() for child in each.children}
    for table, right in wanted_rights(catalogue, written):
        try:
            await session.fetch(f"EXPLAIN {_statement(table, right, columns[table])}")
        except Error as error:
            if number_of(error) in _NO_RIGHT:
                found.append((table, right))
            # What else is wrong with it is no matter of rights, and is said where it is met.
    ((database, user),) = await session.fetch("SELECT DATABASE(), CURRENT_USER()")
    name, _, host = user.rpartition("@")
    return rights_missing(found, f"`{database}`.", "`{}`".format, f"'{name}'@'{host}'")


_NO_RIGHT = (1044, 1142, 1143)


def _statement(table: str, right: str, columns: Sequence[Column]) -> str:
    names = [quote(column.name) for column in columns if not column.generated]
    if right == "SELECT":
        return f"SELECT {', '.join(names)} FROM {quote(table)}"
    if right == "INSERT":
        return f"INSERT INTO {quote(table)} ({', '.join(names)}) VALUES ({', '.join(['NULL'] * len(names))})"
    if right == "UPDATE":
        return f"UPDATE {quote(table)} SET {', '.join(f'{name} = NULL' for name in names)} WHERE 1 = 0"
    return f"DELETE FROM {quote(table)} WHERE 1 = 0"
