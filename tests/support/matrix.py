"""On which engines a test runs each time, and on which in `make soak` alone: those have the mark `matrix`.

What a test is about decides that. What engines do (triggers, constraints, types, refusals) is tried on each of them.
What streamd decides is the same whatever they are: it is tried on SQLite, and by a test or two of the file on each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from tests.support.database_url import Engine
from tests.support.servers import ENGINES

Engines = tuple[Engine, Engine]
"""Those of headquarters and of the store: of the producer and of the consumer, where one is only that."""

ALIKE: Engines = ("sqlite", "sqlite")
CIRCLE: tuple[Engines, ...] = tuple(zip(ENGINES, (*ENGINES[1:], ENGINES[0]), strict=True))
"""Every engine once at headquarters and once at the store."""

SERVERS: Engines = ("postgresql", "mariadb")


def _run(*values: Any, each_time: bool, name: str | None = None) -> Any:
    return pytest.param(*values, marks=() if each_time else pytest.mark.matrix, id=name)


EACH_ENGINE = pytest.mark.parametrize("engine", ENGINES)
EACH_PAIR = pytest.mark.parametrize(
    "engines",
    [_run(each, each_time=each in (ALIKE, SERVERS), name="-to-".join(each)) for each in (ALIKE, *CIRCLE)],
)
"""SQLite at both sites, and PostgreSQL to MariaDB; in the matrix the rest of the circle."""
EACH_TURN = pytest.mark.parametrize("engines", [ALIKE, *CIRCLE], ids="-to-".join)
"""SQLite at both sites, and the whole circle: for one test of a file, which shows that each engine plays each part."""

ONE_ENGINE = [_run(each, each_time=each == "sqlite") for each in ENGINES]
"""SQLite; in the matrix the others."""
ONE_PAIR = [_run(each, each_time=each == ALIKE, name="-to-".join(each)) for each in (ALIKE, *CIRCLE)]
"""SQLite at both sites; in the matrix the circle."""
ALL_PAIRS = [
    _run(each, each_time=each in (ALIKE, *CIRCLE), name="-to-".join(each)) for each in product(ENGINES, ENGINES)
]
"""SQLite at both sites, and the circle; in the matrix every engine with every one."""


FEW_PAIRS = [
    _run(each, each_time=each in (ALIKE, SERVERS), name="-to-".join(each)) for each in product(ENGINES, ENGINES)
]
"""SQLite at both sites, and PostgreSQL to MariaDB; in the matrix every engine with every one."""
ONE_SERVER_PAIR = [_run(each, each_time=each == SERVERS, name="-to-".join(each)) for each in CIRCLE]
"""PostgreSQL to MariaDB; in the matrix the rest of the circle."""


def in_matrix(*pairs: Engines) -> list[Any]:
    """These pairs, all of them in the matrix."""
    return [_run(each, each_time=False, name="-to-".join(each)) for each in pairs]


def engines_and(*values: Sequence[Any]) -> list[Any]:
    """SQLite with every combination of these values, each other engine with the first one; in the matrix the rest."""
    combinations = list(product(*values))
    return [
        _run(engine, *each, each_time=engine == "sqlite" or each == combinations[0])
        for engine in ENGINES
        for each in combinations
    ]
