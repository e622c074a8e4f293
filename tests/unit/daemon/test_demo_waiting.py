"""How long the demo waits: for as long as anything moves, within a bound that grows with the machine's slowness."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamd.cli.demo import command as demo
from streamd.cli.demo.command import LONGEST_SECONDS, STILL_SECONDS, Waiting, slowness
from streamd.cli.demo.sites import DemoFailed, DemoSite


def over(waiting: Waiting, seconds: float, *, moving: bool) -> str:
    """What is said when so many seconds have passed, with a look at each of them."""
    began = time.monotonic()
    for second in range(int(seconds)):
        said = waiting.over(began + second, lambda: second if moving else 0)  # noqa: B023  # asked at once
        if said:
            return said
    return ""


@pytest.mark.parametrize("slower", [1.0, 10.0])
def test_nothing_that_moves_is_given_up_before_the_bound(slower: float) -> None:
    assert over(Waiting(slower), LONGEST_SECONDS * slower - 2, moving=True) == ""
    assert "are over" in over(Waiting(slower), LONGEST_SECONDS * slower + 5, moving=True)


@pytest.mark.parametrize("slower", [1.0, 10.0])
def test_what_stands_still_is_given_up_sooner(slower: float) -> None:
    assert over(Waiting(slower), STILL_SECONDS * slower - 2, moving=False) == ""
    assert "nothing moved" in over(Waiting(slower), STILL_SECONDS * slower + 5, moving=False)


def test_a_demo_that_fails_shows_what_the_daemons_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STILL_SECONDS", 0.0)
    site = DemoSite("hq", tmp_path, 1, offers=(), seed="", longest_command=20.0)
    assert slowness([site]) == 20.0
    site.log.write_text("the last words of hq\n")
    with pytest.raises(DemoFailed, match="the last words of hq"):
        demo._until(lambda: False, "an invoice arrives", site)
