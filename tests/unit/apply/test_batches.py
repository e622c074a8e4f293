"""What is applied in one transaction here: whole transactions of the producer, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamd.apply import batch
from streamd.apply.applier import LARGEST_BATCH, Applier
from streamd.apply.event.incoming import Incoming
from streamd.model import Catalogue, Event


def incoming(sizes: Sequence[int], *, said: bool = True) -> list[Incoming]:
    """Events of transactions of these sizes. `said` is False where the last event of each went to others only."""
    found = []
    for tx, size in enumerate(sizes, 1):
        for number in range(size):
            last = said and number == size - 1
            event = Event(len(found) + 1, "n", tx, "Item", (len(found),), "update", "c", 0, last_in_tx=last)
            found.append(Incoming(event, None, "s", "log"))
    return found


def batches(sizes: Sequence[int], *, said: bool = True) -> list[int]:
    """The sizes of the batches in which transactions of these sizes are applied."""
    one = Applier(None, None, Catalogue({}, frozenset()), site="s", drain=lambda: None)  # type: ignore[arg-type]  # only parts events
    todo, found = incoming(sizes, said=said), []
    while todo:
        found.append(batch.cut(todo, one._batch, LARGEST_BATCH))
        todo = todo[found[-1] :]
    return found


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([5, 5], [10]),
        ([1] * 250, [100, 100, 50]),
        ([60, 60, 60], [120, 60]),
        ([LARGEST_BATCH], [LARGEST_BATCH]),
        # What comes before it makes no difference to a transaction that fits by itself.
        ([90, 450], [90, 450]),
        ([90, LARGEST_BATCH, 90], [90, LARGEST_BATCH, 90]),
        # One that does not fit is applied in parts.
        ([30, LARGEST_BATCH + 100], [30, 100, LARGEST_BATCH]),
    ],
)
def test_a_transaction_is_applied_together_as_far_as_it_fits(sizes: list[int], expected: list[int], said: bool) -> None:
    assert batches(sizes, said=said) == expected


def test_what_is_refused_is_parted_between_transactions_first() -> None:
    def middle(sizes: Sequence[int]) -> int:
        return batch.middle_of([each.event for each in incoming(sizes)])

    assert middle([1, 9]) == 1
    assert middle([4, 2, 4]) in (4, 6)
    assert middle([10]) == 5
