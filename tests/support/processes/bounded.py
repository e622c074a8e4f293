"""Evaluates expressions in processes of their own that may use little memory and time, and says what became of it.

python -m tests.support.processes.bounded    reads a pickled list of (text, document), writes a JSON list of outcomes
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamd.errors import ExpressionError
from streamd.expressions import compile_expression

MEMORY_BYTES = 64 << 20
"""How much a process may take beyond what it had before it saw the expression."""

CPU_SECONDS = 20
"""After so much work, a process is ended by the system."""


@dataclass(frozen=True)
class Outcome:
    """What became of one expression. `seconds` of CPU are those of the slowest evaluation; 0 where it was refused."""

    refused: str
    failed: str
    holds: bool
    seconds: float
    compile_seconds: float


class Hungry(dict[str, Any]):
    """A value that takes more memory than there is when it is looked at."""

    def get(self, key: str, default: Any = None) -> Any:
        return bytearray(2 * MEMORY_BYTES)[0]


def evaluate_bounded(cases: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Outcome | None]:
    """The outcomes in order; None where the process was ended: it took more memory or time than it may, or crashed."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.processes.bounded"],
        input=pickle.dumps(list(cases)),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Outcome(**each) if each else None for each in json.loads(finished.stdout)]


def _in_child(text: str, doc: Mapping[str, Any]) -> dict[str, Any] | None:
    """The outcome of one expression, worked out in a fork of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "wb") as out:
                out.write(json.dumps(_limited(text, doc)).encode())
            os._exit(0)
        except MemoryError:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(content) if status == 0 and content else None


def _limited(text: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    with open("/proc/self/statm", encoding="ascii") as sizes:
        size = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    outcome: dict[str, Any] = {"refused": "", "failed": "", "holds": False, "seconds": 0.0, "compile_seconds": 0.0}
    begun = time.process_time()
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        return {**outcome, "refused": str(error), "compile_seconds": time.process_time() - begun}
    outcome["compile_seconds"] = time.process_time() - begun
    took = []
    for _ in range(3):
        begun = time.process_time()
        outcome["holds"] = expression.holds(doc)
        try:
            expression.evaluate(doc)
        except ExpressionError as error:
            outcome["failed"] = str(error)
        took.append(time.process_time() - begun)
    return {**outcome, "seconds": max(took)}


if __name__ == "__main__":
    compile_expression("doc.country == 'IN'").holds({})  # so that what everybody needs is there before the limits are
    json.dump([_in_child(text, doc) for text, doc in pickle.load(sys.stdin.buffer)], sys.stdout)  # noqa: S301  # from the test
