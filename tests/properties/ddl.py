"""A schema as the statements of one engine. What an engine does not know, its database does without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from tests.properties.kinds import INT, WORD
from tests.properties.schemas import STAMP, Column, Feature, Link, Schema, Table
from tests.support.database_url import Engine


def statements(schema: Schema, side: int, engine: Engine) -> list[str]:
    """What makes the tables of one of the two sites, and their triggers."""
    return list(_Writer(schema, side, engine).all())


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


class _Writer:
    def __init__(self, schema: Schema, side: int, engine: Engine) -> None:
        self.schema = schema
        self.side = side
        self.engine = engine
        self.features = schema.features(side)

    def has(self, what: str, table: str = "", column: str = "") -> bool:
        return any((each.what, each.table, each.column) == (what, table, column) for each in self.features)

    def how(self, what: str, table: str, column: str) -> str | int | None:
        """How the column has this feature; where it is there twice, the one that only this site has."""
        found = [each.how for each in self.features if (each.what, each.table, each.column) == (what, table, column)]
        return found[-1] if found else None

    def all(self) -> Iterator[str]:
        if any(each.what == "audit" for each in self.features):
            automatic = {
                "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
                "postgresql": "integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY",
                "mariadb": "INTEGER PRIMARY KEY AUTO_INCREMENT",
            }
            yield f'CREATE TABLE "Audit" ("No" {automatic[self.engine]}, "Note" VARCHAR(40))'
        for table in self.schema.tables:
            yield self._table(table)
            if self._partitioned(table):
                for part in (0, 1):
                    yield (
                        f'CREATE TABLE "{table.name} part {part}" PARTITION OF "{table.name}"'
                        f" FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
                    )
            yield from self._indexes(table)
        if self.engine != "sqlite":
            for table in self.schema.tables:
                for link in table.links:
                    if key := self._foreign_key(table, link):
                        yield f'ALTER TABLE "{table.name}" ADD {key}'
        for number, feature in enumerate(self.features):
            yield from self._trigger(feature, number)

    # Tables

    def _table(self, table: Table) -> str:
        parts = [self._column(table, column) for column in table.columns]
        if table.name in self.schema.stamped:
            parts.append(self._stamp(table))
        parts += [
            f'"{each.column} twice" {self._int()} GENERATED ALWAYS AS ("{each.column}" * 2) STORED'
            for each in self.features
            if each.what == "generated" and each.table == table.name
        ]
        if self.engine == "mariadb":
            parts += [
                f'"{each.column} low" VARCHAR(40) GENERATED ALWAYS AS (lower("{each.column}")) VIRTUAL UNIQUE'
                for each in self.features
                if each.what == "unique in lower case" and each.table == table.name
            ]
        parts.append(f"PRIMARY KEY ({quoted(table.key)}){self._clause('key', table.name)}")
        for column in table.plain:
            for what in ("unique", "unique replaces", "unique ignores"):
                if self.has(what, table.name, column.name):
                    clause = self._clause("unique", table.name, column.name) if what != "unique" else ""
                    parts.append(f'UNIQUE ("{column.name}"){clause}')
                    break
            if table.parent and self.has("unique in parent", table.name, column.name):
                parts.append(f"UNIQUE ({quoted((*table.parent.columns, column.name))})")
        if self.engine == "sqlite":
            parts += [key for link in table.links if (key := self._foreign_key(table, link))]
        return f'CREATE TABLE "{table.name}" ({", ".join(parts)}){self._options(table)}'

    def _clause(self, what: str, table: str, column: str = "") -> str:
        """What SQLite does with a row that is there already."""
        if self.engine == "sqlite":
            for word in ("replaces", "ignores"):
                if self.has(f"{what} {word}", table, column):
                    return " ON CONFLICT " + ("REPLACE" if word == "replaces" else "IGNORE")
        return ""

    def _options(self, table: Table) -> str:
        if self.engine == "mariadb":
            return " DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin" if self.has("binary") else ""
        if self.engine == "sqlite":
            plain = self.has("without rowid", table.name) and not self._automatic(table)
            return " WITHOUT ROWID" if plain else ""
        return f' PARTITION BY HASH ("{table.key[0]}")' if self._partitioned(table) else ""

    def _partitioned(self, table: Table) -> bool:
        unique = any(each.what.startswith("unique") and each.table == table.name for each in self.features)
        return (
            self.engine == "postgresql"
            and not unique
            and self.has("partitioned", table.name)
            and not self._automatic(table)
        )

    def _automatic(self, table: Table) -> bool:
        return self.has("automatic", table.name)

    def _int(self) -> str:
        return INT.types[self.engine]

    def _column(self, table: Table, column: Column) -> str:
        of_table = table.name, column.name
        others = column.kind.others[self.engine]
        typed = self.how("typed", *of_table)
        kind = others[int(typed) % len(others)] if others and typed is not None else column.kind.types[self.engine]
        words = [f'"{column.name}" {kind}']
        if column.name in table.key:
            words += self._key_words(table, column)
        elif self.has("collates", *of_table) and typed is None:
            words += {"sqlite": ["COLLATE NOCASE"], "mariadb": ["COLLATE utf8mb4_bin"]}.get(self.engine, [])
        if column.name in table.key or self._not_null(table, column):
            words.append("NOT NULL")
        if self.has("default", *of_table) and typed is None and self._literal(column):
            words.append(f"DEFAULT {self._literal(column)}")
        if self.has("check", *of_table):
            words.append(f"CHECK ({column.kind.check.format(column.name)})")
        return " ".join(words)

    def _key_words(self, table: Table, column: Column) -> list[str]:
        if self._automatic(table) and self.engine == "postgresql":
            return ["GENERATED BY DEFAULT AS IDENTITY"]
        if self._automatic(table) and self.engine == "mariadb":
            return ["AUTO_INCREMENT"]
        if self.engine == "sqlite" and column.kind is WORD and self.has("key collates", table.name):
            return ["COLLATE NOCASE"]
        return []

    def _not_null(self, table: Table, column: Column) -> bool:
        for link in table.links:
            if column.name in link.columns:
                return link.parent or self.has("not null", table.name, link.columns[0])
        return self.has("not null", table.name, column.name)

    def _literal(self, column: Column) -> str:
        value = column.kind.values[0]
        if isinstance(value, bool):
            return "1" if value and self.engine != "postgresql" else str(value).upper()
        if isinstance(value, int | float | Decimal):
            return str(value)
        return f"'{value}'" if column.kind is WORD else ""

    def _stamp(self, table: Table) -> str:
        if self.engine == "mariadb" and self.has("stamp", table.name):
            return f'"{STAMP}" DATETIME(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6)'
        return f'"{STAMP}" ' + {"sqlite": "DATETIME", "postgresql": "timestamp", "mariadb": "DATETIME(6)"}[self.engine]

    def _foreign_key(self, table: Table, link: Link) -> str:
        place = table.name, link.columns[0]
        apart = self.has("cascades at the second", *place)
        if self.has("no foreign key", *place) or (apart and self.side == 0):
            return ""
        target = self.schema.table(link.target)
        words = f'FOREIGN KEY ({quoted(link.columns)}) REFERENCES "{target.name}" ({quoted(target.key)})'
        bound = any(self._not_null(table, table.column(column)) or column in table.key for column in link.columns)
        for event in ("on delete", "on update"):
            how = "CASCADE" if apart and event == "on delete" else self.how(event, *place)
            if how is None or (how == "SET DEFAULT" and self.engine == "mariadb"):
                continue
            if how in ("SET NULL", "SET DEFAULT") and bound:
                how = "CASCADE"
            words += f" {event.upper()} {how}"
        if self.has("deferred") and self.engine != "mariadb":
            words += " DEFERRABLE INITIALLY DEFERRED"
        return words

    def _indexes(self, table: Table) -> Iterator[str]:
        for column in table.plain:
            name = f'"{table.name} {column.name}'
            if self.has("unique in lower case", table.name, column.name) and self.engine != "mariadb":
                yield f'CREATE UNIQUE INDEX {name} low" ON "{table.name}" (lower("{column.name}"))'
            if self.has("unique partly", table.name, column.name) and self.engine != "mariadb":
                value = {"word": "'a'", "int": "1", "price": "2"}.get(column.kind.name, "'2024-03-01'")
                where = f'"{column.name}" > {value}'
                yield f'CREATE UNIQUE INDEX {name} part" ON "{table.name}" ("{column.name}") WHERE {where}'

    # Triggers

    def _trigger(self, feature: Feature, number: int) -> Iterator[str]:
        if not feature.table:
            return
        table = self.schema.table(feature.table)
        own = {
            "swallows": lambda: self._skip(table, "INSERT", f"NEW.\"{feature.column}\" = 'c'"),
            "freezes": lambda: self._skip(table, "UPDATE", f"OLD.\"{feature.column}\" = 'b'"),
            "keeps": lambda: self._skip(table, "DELETE", f"OLD.\"{feature.column}\" = 'a'"),
            "refuses": lambda: self._refuse(f"NEW.\"{feature.column}\" = 'b'"),
            "changes": lambda: self._change(table, table.column(feature.column)),
            "counts": lambda: self._count(table, feature),
            "removes": lambda: self._remove(table, feature),
            "audit": lambda: ("AFTER INSERT", "", 'INSERT INTO "Audit" ("Note") VALUES (\'made\')'),
            "stamp": lambda: self._stamps(table),
        }
        if feature.what == "keeps by rule":
            if self.engine == "postgresql" and not self._partitioned(table):
                yield (
                    f'CREATE RULE "rule {number}" AS ON DELETE TO "{table.name}"'
                    f" WHERE OLD.\"{feature.column}\" = 'a' DO INSTEAD NOTHING"
                )
            return
        made = own[feature.what]() if feature.what in own else None
        if made is None:
            return
        when, condition, body = made
        # A trigger stands at the table whose rows it looks at.
        at = self.schema.table(feature.table)
        if feature.what == "removes":
            link = next(link for link in at.links if link.columns[0] == feature.column)
            at = self.schema.table(link.target)
        yield from self._made(f"user {number}", at, when, condition, body)

    def _made(self, name: str, table: Table, when: str, condition: str, body: str) -> Iterator[str]:
        if self.engine == "sqlite":
            condition = f"WHEN {condition} " if condition else ""
            yield f'CREATE TRIGGER "{name}" {when} ON "{table.name}" FOR EACH ROW {condition}BEGIN {body}; END'
        elif self.engine == "mariadb":
            body = f"IF {condition} THEN {body}; END IF" if condition else body
            yield f'CREATE TRIGGER "{name}" {when} ON "{table.name}" FOR EACH ROW BEGIN {body}; END'
        else:
            row = "OLD" if "DELETE" in when else "NEW"
            body = f"IF {condition} THEN {body}; END IF" if condition else body
            yield (
                f'CREATE FUNCTION "{name}"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN {row}; END $$'
            )
            yield f'CREATE TRIGGER "{name}" {when} ON "{table.name}" FOR EACH ROW EXECUTE FUNCTION "{name}"()'

    def _skip(self, table: Table, event: str, condition: str) -> tuple[str, str, str] | None:
        bodies = {"sqlite": "SELECT RAISE(IGNORE)", "postgresql": "RETURN NULL"}
        return (f"BEFORE {event}", condition, bodies[self.engine]) if self.engine in bodies else None

    def _refuse(self, condition: str) -> tuple[str, str, str]:
        bodies = {
            "sqlite": "SELECT RAISE(ABORT, 'not b')",
            "postgresql": "RAISE EXCEPTION 'not b' USING ERRCODE = 'ZX001'",
            "mariadb": "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not b'",
        }
        return "BEFORE INSERT", condition, bodies[self.engine]

    def _change(self, table: Table, column: Column) -> tuple[str, str, str]:
        new = f'NEW."{column.name}"'
        value = f"upper({new})" if column.kind is WORD else f"{new} + 1"
        if self.engine == "sqlite":
            here = self._same(table.key, "NEW", table.key)
            return "AFTER INSERT", "", f'UPDATE "{table.name}" SET "{column.name}" = {value} WHERE {here}'
        word = "SET " if self.engine == "mariadb" else ""
        return "BEFORE INSERT", "", f"{word}{new} {'=' if word else ':='} {value}"

    def _stamps(self, table: Table) -> tuple[str, str, str] | None:
        if self.engine == "mariadb":
            return None
        if self.engine == "postgresql":
            return "BEFORE UPDATE", "", f'NEW."{STAMP}" := clock_timestamp()'
        here = self._same(table.key, "NEW", table.key)
        moment = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        set_it = f'UPDATE "{table.name}" SET "{STAMP}" = {moment} WHERE {here}'
        return "AFTER UPDATE", f'NEW."{STAMP}" IS OLD."{STAMP}"', set_it

    def _count(self, table: Table, feature: Feature) -> tuple[str, str, str] | None:
        link = next(link for link in table.links if link.columns[0] == feature.column)
        target = self.schema.table(link.target)
        if target.name == table.name and self.engine == "mariadb":
            return None  # a trigger of its may not write to its own table
        here = self._same(target.key, "NEW", link.columns)
        count = f'coalesce("{feature.how}", 0) + 1'
        return "AFTER INSERT", "", f'UPDATE "{target.name}" SET "{feature.how}" = {count} WHERE {here}'

    def _remove(self, table: Table, feature: Feature) -> tuple[str, str, str] | None:
        link = next(link for link in table.links if link.columns[0] == feature.column)
        target = self.schema.table(link.target)
        if target.name == table.name and self.engine == "mariadb":
            return None
        return "BEFORE DELETE", "", f'DELETE FROM "{table.name}" WHERE {self._same(link.columns, "OLD", target.key)}'

    @staticmethod
    def _same(columns: Iterable[str], row: str, others: Iterable[str]) -> str:
        return " AND ".join(f'"{one}" = {row}."{other}"' for one, other in zip(columns, others, strict=True))
