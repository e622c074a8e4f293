"""The pages of documentation hold together: every link leads somewhere, and lines of prose wrap at 100."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote

import pytest

from bench.structure import files_of_a_create
from streamd import settings
from streamd.db.mariadb import sql as mariadb_sql
from streamd.db.postgresql import sql as postgresql_sql
from streamd.db.sqlite import sql as sqlite_sql
from streamd.store.schema import metadata
from tests import reference
from tests.data import REPOSITORY

PAGES = [
    path
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    if path.name != "CHANGELOG.md"  # it tells of pages that are no more
]
LONGEST_LINE = 100
SIX = 6
"""Files that a stranger reads to follow one event."""

_CODE_BLOCK = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'(?:src|srcset)="([^"]+)"')
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_MENTION = re.compile(r"docs/[\w/.-]+\.md\b")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return set(found) | {f"{anchor}-{number}" for anchor, count in found.items() for number in range(1, count + 1)}


def broken_links(page: Path) -> Iterator[str]:
    text = _CODE.sub("", prose(page))
    for target in [*_LINK.findall(text), *_IMAGE.findall(text)]:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path) if path else page
        if not file.exists():
            yield f"{target}: there is no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: the page has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert not list(broken_links(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_lines_of_prose_wrap(page: Path) -> None:
    # Rows of tables, headings and links cannot be wrapped.
    lines = [line for line in prose(page).splitlines() if not line.lstrip().startswith(("|", "#", "<", "["))]
    assert not [line for line in lines if len(line) > LONGEST_LINE]


def test_every_page_is_in_the_index() -> None:
    folder = REPOSITORY / "docs"
    linked = {folder / target.partition("#")[0] for target in _LINK.findall(prose(folder / "README.md"))}
    listed_elsewhere = folder / "explanation" / "decisions"
    pages = {page for page in PAGES if folder in page.parents and listed_elsewhere not in page.parents}
    missing = pages - linked - {folder / "README.md"}
    assert not missing


@pytest.mark.parametrize("page", ["docs/explanation/architecture.md", "CONTRIBUTING.md"])
def test_files_that_a_page_about_the_code_names_are_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    source = REPOSITORY / "src" / "streamd"
    named = set(re.findall(r"`([\w/]+/(?:\w+\.py)?)`", text))
    missing = {name for name in named if not (source / name).exists() and not (REPOSITORY / name).exists()}
    assert not missing


async def test_the_files_to_follow_one_event_by_are_those_that_it_crosses(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    to_read = re.findall(r"^\| \d \| `([\w/]+\.py)` \|", text, re.MULTILINE)
    assert len(to_read) == SIX
    crossed = await files_of_a_create(tmp_path)
    over_http = {name for name in to_read if name.startswith("serve/")}
    assert set(to_read) - over_http <= set(crossed)


def test_the_functions_at_which_a_reader_begins_are_there() -> None:
    text = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    begins = re.findall(r"^\| \d \| `([\w/]+)\.py` \| `([\w.]+)` \|", text, re.MULTILINE)
    assert len(begins) == SIX
    for module, function in begins:
        assert callable(attrgetter(function)(import_module(f"streamd.{module.replace('/', '.')}")))


def test_pages_that_code_and_messages_name_are_there() -> None:
    files = [
        path
        for folder in ("src", "tests", "contrib", "bench")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".service")
    ]
    files += [REPOSITORY / "config.example.toml", REPOSITORY / "Makefile", REPOSITORY / "Dockerfile"]
    named = {(name, path) for path in files for name in _MENTION.findall(path.read_text(encoding="utf-8"))}
    missing = sorted(
        f"{path.relative_to(REPOSITORY)}: {name}" for name, path in named if not (REPOSITORY / name).exists()
    )
    assert not missing


@pytest.mark.parametrize("name", ["configuration.md", "commands.md"])
def test_the_reference_says_what_the_code_says(name: str) -> None:
    assert (reference.FOLDER / name).read_text(encoding="utf-8") == reference.pages()[name], "run `make docs`"


def test_the_reference_names_every_part_of_the_configuration() -> None:
    described = {model for model, _ in reference.SECTIONS.values()}
    assert described == set(settings.Part.__subclasses__())


def test_the_reference_names_every_table_of_streamd() -> None:
    page = (reference.FOLDER / "tables.md").read_text(encoding="utf-8")
    statements = [*sqlite_sql.TABLES.values(), *mariadb_sql.TABLES.values(), *postgresql_sql.TABLES]
    ours = {
        name for each in statements for name in re.findall(r"TABLE IF NOT EXISTS (?:streamd\.)?(streamd_\w+) \(", each)
    }
    missing = {name for name in ours | set(metadata.tables) if f"`{name}`" not in page}
    assert len(ours) > 10
    assert not missing
