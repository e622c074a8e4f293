"""An approval never grows by itself, and a rejection stays."""

from __future__ import annotations

import pytest

from streamd.store.approvals import Approval, asked_again, write_opens


def approval(status: str, *opens: str) -> Approval:
    return Approval("store", "Invoice", status, opens, "log", 5, 0, None)


def test_an_approval_that_would_open_more_is_pending_again() -> None:
    changed = asked_again(approval("Approved", "Customer"), True, ("Customer", "Employee"))
    assert changed == {"status": "Pending", "opens": write_opens(("Customer", "Employee"))}


def test_an_approval_that_opens_less_stays() -> None:
    changed = asked_again(approval("Approved", "Customer", "Employee"), True, ("Customer",))
    assert changed == {"opens": write_opens(("Customer",))}


@pytest.mark.parametrize("status", ["Pending", "Approved"])
def test_what_is_no_longer_wanted_is_unsubscribed(status: str) -> None:
    assert asked_again(approval(status), False, ()) == {"status": "Unsubscribed"}


def test_what_is_wanted_again_is_pending_again() -> None:
    assert asked_again(approval("Unsubscribed"), True, ()) == {"status": "Pending"}


@pytest.mark.parametrize("wanted", [True, False])
def test_a_rejected_type_stays_rejected_whatever_the_consumer_does(wanted: bool) -> None:
    assert "status" not in asked_again(approval("Rejected"), wanted, ("Customer",))


@pytest.mark.parametrize("status", ["Pending", "Approved", "Rejected"])
def test_the_same_wish_changes_nothing(status: str) -> None:
    assert asked_again(approval(status, "Customer"), True, ("Customer",)) == {}
