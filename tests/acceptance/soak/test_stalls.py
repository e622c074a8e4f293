"""The stall table: each fault on each engine is said within a minute, and over two minutes after its cause is gone.

Run by `make soak`. STREAMD_STALL_MINUTES: how long nothing may be said where nothing is wrong (30).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.support.database_url import Engine
from tests.support.sites.stalls import STALLS, Stall, Stalled, all_is_well, said, seconds_until
from tests.support.sites.world import World

ALARM_SECONDS = 60.0
RECOVERY_SECONDS = 120.0
LIMIT_SECONDS = 300.0
ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql", "mariadb")


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: stall.name)
def test_a_stall_is_said_and_ends_by_itself(stall: Stall, engine: Engine, world: World) -> None:
    if engine not in stall.engines:
        return
    pair = Stalled(world, engine)
    try:
        assert seconds_until(lambda: all_is_well(pair), 60) < 60, world.report()
        stall.begin(pair)
        if not pair.is_locked(pair.hq):
            pair.write()
        alarm = seconds_until(lambda: said(pair, stall), LIMIT_SECONDS)
        stall.end(pair)
        recovery = seconds_until(lambda: pair.arrived and all_is_well(pair), LIMIT_SECONDS)
        print(f"\n| {stall.name} | {engine} | {alarm:.0f} s | {recovery:.0f} s |")
        assert alarm < ALARM_SECONDS, world.report()
        assert recovery < RECOVERY_SECONDS, world.report()
    finally:
        pair.close()


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_nothing_is_said_where_nothing_is_wrong_on_a_machine_under_load(world: World) -> None:
    pair = Stalled(world, "sqlite")
    burn = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    until = time.monotonic() + 60 * float(os.environ.get("STREAMD_STALL_MINUTES", "30"))
    alarms = []
    try:
        while time.monotonic() < until:
            pair.write()
            alarms += [
                done.out
                for site in (pair.hq, pair.store)
                if (done := site.run("status", "--check", "--max-age", "60", timeout=90)).code != 0
            ]
            time.sleep(2)
        assert alarms == []
        lines = [line["event"] for site in (pair.hq, pair.store) for line in site.log_lines() if "event" in line]
        assert "loop_stalled" not in lines
    finally:
        for process in burn:
            process.kill()
            process.wait()
        pair.close()
