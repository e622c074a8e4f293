"""The ports of the tests' own servers: nobody can take one between choosing it and listening on it."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress

from tests.data import REPOSITORY
from tests.support.processes.ports import BLOCK, HOST, blocks, free_port, kernels_range

AT_ONCE = 4
EACH = BLOCK + 50
"""More than a block has."""

TAKER = f"""
import sys
from tests.support.processes.ports import free_port
sys.stdin.readline()
print(*(free_port() for _ in range({EACH})), flush=True)
sys.stdin.readline()
"""


def taker() -> subprocess.Popen[str]:
    """A process that takes ports when it is told to, and keeps them until it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", TAKER], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ports_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(port) for port in process.stdout.readline().split()]


def test_no_outgoing_connection_is_ever_given_a_port_of_the_tests() -> None:
    first, last = kernels_range()
    assert not first <= free_port() <= last
    with socket.create_server((HOST, 0)) as server, socket.create_connection(server.getsockname()) as outgoing:
        assert first <= outgoing.getsockname()[1] <= last, "the kernel's range is another one"


def test_blocks_are_whole_and_leave_the_kernels_range_alone() -> None:
    for first, last in ((32768, 60999), (49152, 65535), (1024, 19999), (10_100, 65_400)):
        ports = [port for block in blocks(first, last) for port in block]
        assert len(ports) == len(set(ports))
        assert all(10_000 <= port <= 65_535 and not first <= port <= last for port in ports)
        assert bool(ports) == ((first, last) != (10_100, 65_400))


def test_processes_that_take_ports_at_the_same_time_are_given_different_ones() -> None:
    takers = [taker() for _ in range(AT_ONCE)]
    try:
        for each in takers:
            tell(each)
        ports = [port for each in takers for port in ports_of(each)]
        assert len(ports) == AT_ONCE * EACH, "some process failed"
        assert len(set(ports)) == len(ports)
    finally:
        for each in takers:
            tell(each)
            each.wait()


def test_a_port_that_somebody_listens_on_is_left_out() -> None:
    first = free_port()
    with socket.socket() as taken:
        # Another program of this machine may have the next one already.
        for port in range(first + 1, first + BLOCK):
            with suppress(OSError):
                taken.bind((HOST, port))
                break
        bound = taken.getsockname()[1]
        assert bound > first
        assert bound not in {free_port() for _ in range(bound - first)}
