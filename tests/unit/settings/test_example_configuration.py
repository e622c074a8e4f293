"""The example configuration is complete, correct, and says the real defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from streamd import settings
from streamd.settings import Settings
from tests.data import REPOSITORY

EXAMPLE = REPOSITORY / "config.example.toml"

MADE_UP = {"certificate", "certificate_key"}
"""Optional settings without a default: the example has to make up a value."""


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    """The example as it stands."""
    return load_text(EXAMPLE.read_text(encoding="utf-8"), tmp_path)


@pytest.fixture
def everything(tmp_path: Path) -> Settings:
    """The example with every setting that it shows in a comment switched on."""
    return load_text(re.sub(r"^# (?=\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE), tmp_path)


def load_text(text: str, folder: Path) -> Settings:
    file = folder / "streamd.toml"
    file.write_text(text, encoding="utf-8")
    return settings.load(file)


def test_the_example_is_a_valid_configuration(plain: Settings) -> None:
    assert plain.site.name == "store-1"
    assert plain.producers["hq"].subscribed == ("Customer", "Track", "Opportunity", "Invoice")


def test_every_setting_is_named_in_the_example(everything: Settings) -> None:
    producer = everything.producers["hq"]
    invoice = everything.doctypes["Invoice"]
    parts: list[BaseModel] = [
        everything,
        everything.site,
        everything.state,
        everything.server,
        everything.retention,
        everything.log,
        invoice,
        invoice.children["lines"],
        producer,
        everything.mappings["Opportunity from OneHash"],
        # What excludes each other stands in several entries of a list.
        *producer.doctypes,
        *everything.mappings["Opportunity from OneHash"].fields,
    ]
    named: dict[type[BaseModel], set[str]] = {}
    for part in parts:
        named.setdefault(type(part), set()).update(part.model_fields_set)
    for kind, fields in named.items():
        missing = set(kind.model_fields) - fields
        assert not missing, f"{kind.__name__}: {', '.join(sorted(missing))} missing in {EXAMPLE.name}"
    known = set(settings.Part.__subclasses__())
    assert known == named.keys() - {Settings}, "a part of the file that this test leaves out"


def test_what_the_example_calls_a_default_is_the_default(everything: Settings, plain: Settings) -> None:
    for name in ("site", "server", "retention", "log"):
        shown, default = getattr(everything, name), getattr(plain, name)
        for field in type(shown).model_fields:
            if field not in MADE_UP:
                assert getattr(shown, field) == getattr(default, field), f"{name}.{field}"


def test_a_secret_may_come_from_the_environment_as_the_example_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMD_PRODUCERS__HQ__API_SECRET", "from-the-environment")
    example = load_text(EXAMPLE.read_text(encoding="utf-8"), tmp_path)
    assert settings.secret_of(example.producers["hq"], "hq") == ("paste-the-key-here", "from-the-environment")
    assert example.producers["hq"].url == "http://127.0.0.1:8100"
