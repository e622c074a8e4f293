"""How the code is built: lines and files per folder, the most complex functions, and the files that one event crosses.

python -m bench.structure
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

import structlog
from rich.console import Console
from rich.table import Table

from tests.simulation.sites import Site

SOURCE = Path(__file__).parents[1] / "src" / "streamd"
MOST_FILES, MOST_LINES, MOST_COMPLEX = 15, 400, 12
SHOWN = 8
TABLE = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)"


def main() -> None:
    """Print all of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console()
    folders = Table("folder", "files", "lines", "longest file")
    for folder, files in sorted(sizes().items()):
        longest = max(files, key=lambda name: files[name])
        many = "[bold]" if len(files) > MOST_FILES else ""
        folders.add_row(folder, f"{many}{len(files)}", str(sum(files.values())), f"{longest} {files[longest]}")
    console.print(folders)
    console.print(f"{sum(sum(files.values()) for files in sizes().values())} lines")
    functions = Table("complexity", "function", title=f"the {SHOWN} most complex functions (at most {MOST_COMPLEX})")
    for complexity, place in complex_functions()[:SHOWN]:
        functions.add_row(str(complexity), place)
    console.print(functions)
    with tempfile.TemporaryDirectory() as folder:
        crossed = asyncio.run(files_of_a_create(Path(folder)))
    console.print(f"A plain create crosses {len(crossed)} files, from the trigger to the row at the other site:")
    console.print("  " + "\n  ".join(crossed))


def sizes() -> dict[str, dict[str, int]]:
    """Lines by file, by folder."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        folder = str(path.parent.relative_to(SOURCE.parent))
        found.setdefault(folder, {})[path.name] = len(path.read_text(encoding="utf-8").splitlines())
    return found


def complex_functions() -> list[tuple[int, str]]:
    """Cyclomatic complexity as ruff counts it, with the function's place, highest first."""
    asked = ["check", "--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity=1"]
    ruff = Path(sys.executable).parent / "ruff"
    said = subprocess.run(  # noqa: S603  # ours
        [ruff, *asked, "--output-format", "json", "--exit-zero", SOURCE], capture_output=True, text=True, check=True
    )
    found = []
    for each in json.loads(said.stdout):
        complexity = int(each["message"].split("(")[1].split(" ")[0])
        place = Path(each["filename"]).relative_to(SOURCE.parent)
        found.append((complexity, f"{each['message'].split('`')[1]}  {place}:{each['location']['row']}"))
    return sorted(found, reverse=True)


async def files_of_a_create(folder: Path) -> list[str]:
    """The files of ours in which something is done while one new document is captured, served, pulled and applied."""
    hq, store = (Site(folder, name, schema=TABLE, doctypes={"note": {}}) for name in ("hq", "store"))
    for site in (hq, store):
        await site.open()
    try:
        # The first document finds what is remembered from then on: statements, columns, who may have what.
        hq.write("INSERT INTO note VALUES (1, 'x')")
        await hq.capture.drain()
        await store.pull_from(hq)
        hq.write("INSERT INTO note VALUES (2, 'y')")
        crossed: set[str] = set()
        prefix = str(SOURCE)

        def look(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(prefix):
                crossed.add(frame.f_code.co_filename)

        sys.setprofile(look)
        try:
            await hq.capture.drain()
            await store.pull_from(hq)
        finally:
            sys.setprofile(None)
        assert store.rows("SELECT count(*) FROM note")[0][0] == 2  # noqa: S101  # else nothing was measured
    finally:
        for site in (hq, store):
            await site.close()
    return sorted(str(Path(path).relative_to(SOURCE)) for path in crossed)


if __name__ == "__main__":
    main()
