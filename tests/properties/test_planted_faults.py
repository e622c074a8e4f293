"""The promise is worth something: each of these faults, planted into streamd, breaks it, and random work finds that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.properties import faults
from tests.properties.faults import Fault, planted
from tests.properties.kinds import INT, KINDS, PRICE, REAL, WORD, Kind
from tests.properties.playing import Impossible, play
from tests.properties.schemas import Schema, Sure, schemas
from tests.properties.workload import Step, steps
from tests.support.database_url import Engine

EXAMPLES = 7
SEARCHES_AT_MOST = 15
PLAIN = ("insert", "insert", "update", "set two", "delete", "delete whole", "rename")
PAIR: tuple[Engine, Engine] = ("sqlite", "sqlite")
LOOSE = Sure(both=("no foreign key", "deferred", "on update"))
APART = Sure(both=("cascades at the second",))


class Search(NamedTuple):
    """Where to look for a fault: so that a few dozen small examples are enough. The promise is the same."""

    fault: Fault
    both: bool = False
    operations: Sequence[str] = PLAIN
    kinds: Sequence[Kind] = (WORD, INT)
    sure: Sure = Sure()
    seed: int = 0
    """With this one the fault is found among the first few examples, as long as nothing changes here."""


SEARCHES = (
    Search(faults.an_event_is_skipped, kinds=KINDS, seed=1),
    Search(faults.a_change_is_not_captured, kinds=KINDS, seed=2),
    Search(faults.deletions_are_not_applied, operations=("insert", "delete", "delete whole"), seed=1),
    Search(faults.what_was_applied_is_taken_for_an_edit, operations=("insert", "shift", "all"), seed=4),
    Search(faults.a_child_row_is_dropped, seed=1),
    Search(faults.decimals_are_cut_off, kinds=(PRICE, REAL), seed=1),
    Search(faults.null_becomes_an_empty_text, kinds=(WORD,), seed=1),
    Search(faults.a_rename_loses_its_links, operations=("insert", "rename"), sure=LOOSE, seed=3),
    Search(
        faults.nobody_sees_that_a_trigger_swallowed_a_row,
        operations=("insert", "many"),
        kinds=(WORD,),
        sure=Sure(second=("swallows", "unique ignores")),
        seed=8,
    ),
    Search(
        faults.what_the_database_does_besides_is_not_looked_for, operations=("insert", "delete"), sure=APART, seed=8
    ),
    Search(faults.refused_events_are_forgotten, operations=("insert", "many"), sure=Sure(second=("check", "refuses"))),
    Search(faults.local_edits_have_no_clock, both=True, operations=("update", "all", "set two"), seed=9),
)


EACH_TIME = (
    faults.an_event_is_skipped,
    faults.a_change_is_not_captured,
    faults.decimals_are_cut_off,
    faults.refused_events_are_forgotten,
)
"""Found soon, and one each of delivery, capture, values and refusals. The others are in the matrix."""


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(
            search,
            marks=() if search.fault in EACH_TIME else pytest.mark.matrix,
            id=search.fault.__name__.replace("_", " "),
        )
        for search in SEARCHES
    ],
)
def test_random_work_finds_a_planted_fault(search: Search) -> None:
    found: list[str] = []
    # Several short searches find more than a long one, which tries much that is alike.
    for start in range(search.seed, search.seed + SEARCHES_AT_MOST):
        if _finds(search, start, found):
            print(f"found in example {len(found)}: {found[-1]}")
            return
    pytest.fail(f"nobody noticed in {len(found)} examples: {sorted(set(found))}")


def _finds(search: Search, start: int, found: list[str]) -> bool:
    """Whether an example breaks the promise with the fault, and keeps it without. Adds what each of them shows."""
    caught: list[Schema] = []

    @seed(start)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(schemas(search.kinds, search.sure), steps(both=search.both, operations=search.operations))
    def look(schema: Schema, history: list[Step]) -> None:
        # Nothing is raised: what a fault does may depend on the clock, and would not be seen a second time.
        if caught:
            return
        with suppress(Impossible):
            with planted(search.fault):
                found.append(", ".join(sorted({each.kind for each in play(schema, PAIR, history).findings})))
            if found[-1] and not play(schema, PAIR, history).findings:
                caught.append(schema)

    look()
    return bool(caught)
