"""Whatever the schema, whatever users do: sites end equal, or say of which document they do not, and why."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from tests.properties.playing import Impossible, play
from tests.properties.schemas import Schema, schemas
from tests.properties.workload import Step, steps
from tests.support.examples import SERVERS
from tests.support.matrix import FEW_PAIRS, Engines
from tests.support.servers import server


def holds(engines: Engines, schema: Schema, history: list[Step]) -> None:
    try:
        played = play(schema, engines, history)
    except Impossible as error:
        note(str(error))
        assume(False)
        return
    assert not played.findings, played.report()


@pytest.mark.hypothesis
@pytest.mark.parametrize("engines", FEW_PAIRS)
def test_sites_end_equal_or_say_why_not(engines: Engines) -> None:
    for engine in engines:
        server(engine)

    @SERVERS
    @given(schemas(), st.booleans().flatmap(lambda both: steps(both=both)))
    def check(schema: Schema, history: list[Step]) -> None:
        holds(engines, schema, history)

    check()
