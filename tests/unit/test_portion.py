"""How much is asked for at once, on a line that breaks."""

from __future__ import annotations

from streamd.pull.portion import MOST_PATIENCE, Portion


def ask(portion: Portion, passes: int) -> bool:
    """One request over a line that lets so much pass."""
    if portion.size <= passes:
        portion.passed()
        return True
    portion.broke(portion.size)
    return False


def test_less_is_asked_for_until_it_passes_and_least_is_one() -> None:
    portion = Portion(1000)
    while portion.broke(portion.size):
        pass
    assert portion.size == 1
    assert not portion.is_whole


def test_what_arrived_says_how_much_passes() -> None:
    portion = Portion(4_000_000)
    assert portion.broke(portion.size, 20_000)
    assert portion.size == 10_000


def test_it_grows_again_once_the_line_is_well() -> None:
    portion = Portion(1000)
    portion.broke(1000)
    for _ in range(2 * MOST_PATIENCE):
        portion.passed()
    assert portion.is_whole


def test_on_a_line_that_goes_on_breaking_most_requests_pass() -> None:
    portion = Portion(4_000_000)
    for _ in range(30):
        ask(portion, 20_000)
    assert sum(ask(portion, 20_000) for _ in range(400)) > 380
