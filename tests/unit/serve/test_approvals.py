"""An approval never grows by itself, and a rejection stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamd.store.approvals import Approval, Terms, merge_request, terms

INDIA = "doc.country == 'IN'"


def approval(status: str, *opens: str) -> Approval:
    return Approval("store", "Invoice", status, opens, "log", 5, 0, None)


def test_an_approval_that_would_open_more_is_pending_again() -> None:
    changed = merge_request(approval("Approved", "Customer"), terms(["Employee", "Customer"], "", ()))
    assert changed == {"status": "Pending", "opens": '["Customer","Employee"]'}


def test_an_approval_that_opens_less_stays() -> None:
    changed = merge_request(approval("Approved", "Customer", "Employee"), terms(["Customer"], "", ()))
    assert changed == {"opens": '["Customer"]'}


@pytest.mark.parametrize(
    ("before", "after"), [("", INDIA), (INDIA, ""), (INDIA, "doc.country == 'US'")], ids=["new", "gone", "another"]
)
def test_an_approval_under_another_condition_is_pending_again(before: str, after: str) -> None:
    changed = merge_request(replace(approval("Approved"), condition=before), Terms(condition=after))
    assert changed == {"status": "Pending", "condition": after}


@pytest.mark.parametrize(("before", "after"), [((), ("Lead",)), (("Lead",), ()), (("Lead",), ("Lead", "User"))])
def test_an_approval_that_lets_other_types_be_looked_into_is_pending_again(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    changed = merge_request(replace(approval("Approved"), lookups=before), Terms(lookups=after))
    assert changed["status"] == "Pending"
    assert changed.keys() == {"status", "lookups"}


def test_a_rejected_type_shows_the_new_condition_and_stays_rejected() -> None:
    assert merge_request(approval("Rejected"), Terms(condition=INDIA)) == {"condition": INDIA}


def test_what_is_pending_already_shows_what_is_asked_for_now() -> None:
    assert merge_request(approval("Pending"), Terms(condition=INDIA)) == {"condition": INDIA}


def test_the_order_and_the_blanks_in_which_something_is_asked_do_not_matter() -> None:
    row = replace(approval("Approved", "Customer"), condition=INDIA, lookups=("Lead", "User"))
    assert merge_request(row, terms(["Customer"], f" {INDIA}\n", ["User", "Lead", "User"])) == {}


@pytest.mark.parametrize("status", ["Pending", "Approved"])
def test_what_is_no_longer_wanted_is_unsubscribed(status: str) -> None:
    assert merge_request(approval(status), None) == {"status": "Unsubscribed"}


def test_what_is_wanted_again_is_pending_again() -> None:
    assert merge_request(approval("Unsubscribed"), Terms()) == {"status": "Pending"}


@pytest.mark.parametrize("wanted", [Terms(("Customer",)), None])
def test_a_rejected_type_stays_rejected_whatever_the_consumer_does(wanted: Terms | None) -> None:
    assert "status" not in merge_request(approval("Rejected"), wanted)


@pytest.mark.parametrize("status", ["Pending", "Approved", "Rejected"])
def test_the_same_wish_changes_nothing(status: str) -> None:
    assert merge_request(approval(status, "Customer"), Terms(("Customer",))) == {}
