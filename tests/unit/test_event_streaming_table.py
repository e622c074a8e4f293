"""The table of promises names tests that are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.data import REPOSITORY

TABLE = REPOSITORY / "docs" / "reference" / "event-streaming.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
SHOWN = re.compile(rf"{NAMED.pattern}(, {NAMED.pattern})*")
ROW = re.compile(r"^\| (?!what it promises|there \||-)(.+) \| (.+) \| (.+) \|$", re.M)


def named_tests() -> list[tuple[str, str]]:
    return sorted(set(NAMED.findall(TABLE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("file", "test"), named_tests())
def test_each_test_that_the_table_names_is_there(file: str, test: str) -> None:
    tree = ast.parse((REPOSITORY / "tests" / file).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert test in names


def test_each_promise_of_the_table_is_shown_by_a_test() -> None:
    rows = ROW.findall(TABLE.read_text(encoding="utf-8"))
    assert len(rows) > 30
    for promise, _, shown in rows:
        assert SHOWN.fullmatch(shown), f"{promise}: nothing shows it"
