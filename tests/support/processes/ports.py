"""Ports of the loopback for the tests' own servers: `free_port()`.

Between choosing a port and listening on it, somebody else may take it: an outgoing connection, for which the kernel
takes any port of its range for these, or another process that runs tests. So ports are taken from outside of that
range, and each process takes them from blocks that it has to itself. A block belongs to whoever is bound to the UDP
port with the number of its first port: on the whole machine, and until that process ends, however it ends.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"
KERNELS_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_RANGE = (49152, 65535)
"""The kernel's range where it does not say: what the Internet's registry of ports recommends."""
FIRST, LAST = 10_000, 65_535
"""Ours are among these: well-known services are below."""
BLOCK = 256
"""Ports that are taken at once: a process needs some hundreds, and no machine runs tests in dozens of processes."""

_held: list[socket.socket] = []
"""Our blocks' UDP sockets: open for as long as the process lives."""


def kernels_range() -> tuple[int, int]:
    """The first and the last port that the kernel gives to outgoing connections."""
    try:
        first, last = KERNELS_RANGE.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return USUAL_RANGE
    return int(first), int(last)


def blocks(first: int, last: int) -> list[range]:
    """The blocks that do not touch the kernel's range `first` to `last`."""
    parts = ((FIRST, min(first - 1, LAST)), (max(last + 1, FIRST), LAST))
    # A block that is cut short by a part's end is left alone.
    return [range(begin, begin + BLOCK) for one, end in parts for begin in range(one, end - BLOCK + 2, BLOCK)]


def free_port() -> int:
    """A port of the loopback that nobody listens on, that nobody else is given, and that we were never given before.

    Raises `RuntimeError` where all blocks are taken, or the kernel's range leaves none.
    """
    return next(_ports)


def _given() -> Iterator[int]:
    while True:
        for port in _take_block()[1:]:
            if _is_free(port):
                yield port


def _take_block() -> range:
    for block in blocks(*kernels_range()):
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind((HOST, block[0]))
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        _held.append(holder)
        return block
    first, last = kernels_range()
    raise RuntimeError(
        f"no {BLOCK} ports are left for tests between {FIRST} and {LAST} outside of {first} to {last}, which the kernel"
        f" gives to outgoing connections: end other runs of the tests, or make that range smaller in {KERNELS_RANGE}"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


_ports = _given()
