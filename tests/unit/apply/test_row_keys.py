"""Which key of a child row an event means, where numbers are used again."""

from __future__ import annotations

import pytest

from streamd.apply.localnames.rowkeys import GONE, Keys, Maker, meant

BEFORE, MADE, AFTER = "1", "2", "3"


@pytest.mark.parametrize(
    ("known", "said", "maker", "clock", "expected"),
    [
        pytest.param({"[1]": (7,)}, {}, Maker.THEY, BEFORE, {"[1]": (7,)}, id="we gave it"),
        pytest.param({"[1]": (7,)}, {"[2]": (7,)}, Maker.THEY, AFTER, {"[1]": (7,)}, id="what they say is older"),
        pytest.param({"[1]": (7,)}, {}, Maker.WE, AFTER, {}, id="another row of ours has the number by now"),
        pytest.param({"[1]": (7,)}, {"[1]": (7,)}, Maker.WE, AFTER, {"[1]": (7,)}, id="they gave it"),
        pytest.param({"[1]": (7,)}, {"[2]": (7,)}, Maker.WE, AFTER, {"[2]": (7,)}, id="they gave another one"),
        pytest.param({}, {"[1]": (7,)}, Maker.WE, BEFORE, {}, id="they did not have our row yet"),
        pytest.param({"[1]": (7,)}, {}, Maker.OTHERS, AFTER, {"[1]": (7,)}, id="heard before"),
        pytest.param({"[1]": (7,)}, {"[2]": (7,)}, Maker.OTHERS, AFTER, {"[2]": (7,)}, id="they call it otherwise"),
        pytest.param({"[1]": GONE}, {}, Maker.THEY, AFTER, {}, id="removed there"),
    ],
)
def test_an_event_means_the_row_that_stands_here_or_none(
    known: Keys, said: Keys, maker: Maker, clock: str, expected: Keys
) -> None:
    assert meant(known, said, clock, lambda _: (MADE, maker)) == expected
