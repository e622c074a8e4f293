"""Whatever the schema, whatever users do: sites end equal, or say of which document they do not, and why."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from tests.properties.playing import Impossible, play
from tests.properties.schemas import Schema, schemas
from tests.properties.workload import Step, steps
from tests.support.database_url import Engine
from tests.support.servers import ENGINES, server

PAIRS = [(producer, consumer) for producer in ENGINES for consumer in ENGINES]


def holds(engines: tuple[Engine, Engine], schema: Schema, history: list[Step]) -> None:
    try:
        played = play(schema, engines, history)
    except Impossible as error:
        note(str(error))
        assume(False)
        return
    assert not played.findings, played.report()


@pytest.mark.parametrize("engines", PAIRS, ids="-".join)
def test_sites_end_equal_or_say_why_not(engines: tuple[Engine, Engine]) -> None:
    for engine in engines:
        server(engine)

    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(schemas(), st.booleans().flatmap(lambda both: steps(both=both)))
    def check(schema: Schema, history: list[Step]) -> None:
        holds(engines, schema, history)

    check()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("engines", PAIRS, ids="-".join)
def test_sites_end_equal_or_say_why_not_for_long(engines: tuple[Engine, Engine], both: bool) -> None:
    for engine in engines:
        server(engine)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(schemas(), steps(both=both))
    def check(schema: Schema, history: list[Step]) -> None:
        holds(engines, schema, history)

    check()
