"""Each fault of a configuration is one clear message with the path of its key and the hint, and exit code 2."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamd.cli.main import cli

SCHEMA = """
CREATE TABLE Customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE Invoice (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES Customer (id), number TEXT);
CREATE TABLE Line (id INTEGER PRIMARY KEY, invoice INTEGER NOT NULL REFERENCES Invoice (id), item TEXT);
"""

GOOD = """\
[site]
name = "store"
database = "sqlite:///site.db"

[state]
database = "sqlite:///state.db"

[server]
port = 8101

[doctypes.Customer]

[doctypes.Invoice]
links = { customer = "Customer" }

[doctypes.Invoice.children.lines]
table = "Line"
parent_key = "invoice"

[producers.hq]
url = "http://127.0.0.1:9"
api_key = "key"
api_secret = "hush-hush"
use_same_name = true
doctypes = ["Customer"]
"""

FAULTS = {
    "no TOML": ("[site]", "[site", "streamd.toml", "fix that line: [site"),
    "no TOML, where a secret is": ('"hush-hush"', '"hush-hush', "streamd.toml", "fix that line"),
    "unknown key": ("port = 8101", "prot = 8101", "server.prot", "spelling"),
    "unknown section": ("[state]", "[stat]", "stat", "did you mean state"),
    "near key of a table": ("port = 8101", "prot = 8101", "server.prot", "did you mean port"),
    "near key of a producer": (
        "use_same_name",
        "use_same_nam",
        "producers.hq.use_same_nam",
        "did you mean use_same_name",
    ),
    "near key of a child": (
        "parent_key",
        "parnt_key",
        "doctypes.Invoice.children.lines.parnt_key",
        "did you mean parent_key",
    ),
    "text for a list": ('["Customer"]', '"Customer"', "producers.hq.doctypes", 'write a list: doctypes = ["Customer"]'),
    "missing key": ('name = "store"\n', "", "site.name", "add it"),
    "wrong type": ("port = 8101", 'port = "many"', "server.port", "for example: port = 8100"),
    "out of range": ("port = 8101", "port = 99999", "server.port", "for example: port = 8100"),
    "bad database URL": ("sqlite:///site.db", "site.db", "site.database", "sqlite:///file.db"),
    "a driver": ("sqlite:///site.db", "sqlite+aiosqlite:///site.db", "site.database", "leave the driver"),
    "other database": ("sqlite:///site.db", "oracle://db/site", "site.database", "sqlite:///file.db"),
    "one database for both": ("sqlite:///state.db", "sqlite:///site.db", "state.database", "another file"),
    "bad URL": ('"http://127.0.0.1:9"', '"127.0.0.1:9"', "producers.hq.url", "http://host:port"),
    "bad port in URL": ("127.0.0.1:9", "127.0.0.1:999999", "producers.hq.url", "port"),
    "secret in URL": ("http://127", "http://me:pw@127", "producers.hq.url", "api_secret"),
    "use_same_name not said": ("use_same_name = true\n", "", "producers.hq.doctypes.Customer", "use_same_name"),
    "unknown mapping": (
        '["Customer"]',
        '[{ doctype = "Customer", mapping = "Custmer" }]',
        "producers.hq.doctypes.Customer",
        "[mappings",
    ),
    "undeclared type": ('["Customer"]', '["Member"]', "producers.hq.doctypes.Member", "declare"),
    "near type": ('["Customer"]', '["Custmer"]', "producers.hq.doctypes.Custmer", "did you mean Customer?"),
    "fault of an entry": (
        '["Customer"]',
        '["Invoice", { doctype = "Customer", on_leave = "forget" }]',
        "producers.hq.doctypes.Customer.on_leave",
        'for example: on_leave = "keep"',
    ),
    "fault of an entry without a name": (
        '["Customer"]',
        '["Customer", { on_leave = "keep" }]',
        "producers.hq.doctypes.2.doctype",
        "add it",
    ),
    "fault of a mapping's field": (
        "[producers.hq]",
        '[mappings.M]\nlocal_doctype = "Customer"\nremote_doctype = "Client"\n'
        'fields = [{ local_fieldname = "name", remote_feldname = "x" }]\n[producers.hq]',
        "mappings.M.fields.name.remote_feldname",
        "did you mean remote_fieldname?",
    ),
    "type twice": ('["Customer"]', '["Customer", "Customer"]', "producers.hq.doctypes", "one entry"),
    "missing secret": ('api_secret = "hush-hush"\n', "", "producers.hq.api_secret", "keys create"),
    "missing secret file": (
        'api_secret = "hush-hush"',
        'api_secret_file = "nowhere"',
        "producers.hq.api_secret_file",
        "fix the path",
    ),
    "missing certificate": (
        "port = 8101",
        'port = 8101\ncertificate = "a.pem"\ncertificate_key = "b.pem"',
        "server.certificate",
        "fix the path",
    ),
    "half a certificate": ("port = 8101", 'port = 8101\ncertificate = "a.pem"', "server", "both"),
    "offered, not declared": ('"store"', '"store"\noffers = ["Custmer"]', "site.offers", "Customer"),
    "missing table": (
        "[doctypes.Customer]",
        '[doctypes.Customer]\ntable = "Kunde"',
        "doctypes.Customer.table",
        "Customer",
    ),
    "missing column": ("customer =", "custmer =", "doctypes.Invoice.links.custmer", "customer"),
    "missing link target": ('= "Customer" }', '= "Client" }', "doctypes.Invoice.links.customer", "declare"),
    "missing child table": ('table = "Line"', 'table = "Lin"', "doctypes.Invoice.children.lines.table", "Line"),
    "missing parent_key": ('parent_key = "invoice"\n', "", "doctypes.Invoice.children.lines.parent_key", "add it"),
    "wrong key": ("links = {", 'key = "number"\nlinks = {', "doctypes.Invoice.key", "UNIQUE"),
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STREAMD_CONFIG",):
        monkeypatch.delenv(name, raising=False)
    connection = sqlite3.connect(tmp_path / "site.db")
    connection.executescript(SCHEMA)
    connection.close()
    path = tmp_path / "streamd.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def streamd(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--config", str(config)])


def break_it(config: Path, old: str, new: str) -> None:
    assert old in GOOD
    config.write_text(GOOD.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(("old", "new", "where", "hint"), FAULTS.values(), ids=FAULTS.keys())
def test_run_says_what_is_wrong_where_and_how_to_fix_it(
    config: Path, old: str, new: str, where: str, hint: str
) -> None:
    break_it(config, old, new)
    done = streamd(config, "run")
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), "a traceback is no message"
    assert done.stdout == ""
    heads = [line for line in done.stderr.splitlines() if not line.startswith("  →")]
    told = [line for line in heads if re.match(rf"(\S*/)?{re.escape(where)}: ", line)]
    assert told, done.stderr
    assert hint in done.stderr
    assert "hush-hush" not in done.output


@pytest.mark.parametrize(("old", "new", "where", "hint"), FAULTS.values(), ids=FAULTS.keys())
def test_check_finds_the_same(config: Path, old: str, new: str, where: str, hint: str) -> None:
    break_it(config, old, new)
    done = streamd(config, "check")
    assert done.exit_code == 2, done.output
    assert re.search(rf"^✗ (\S*/)?{re.escape(where)}: ", done.stdout, re.MULTILINE), done.stdout
    assert hint in done.stdout


def test_a_missing_configuration_says_how_to_get_one(tmp_path: Path) -> None:
    done = streamd(tmp_path / "nothing.toml", "status")
    assert done.exit_code == 2
    assert "streamd init" in done.stderr


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    done = streamd(tmp_path, "status")
    assert done.exit_code == 2
    assert "is a folder" in done.stderr


def test_check_warns_of_a_secret_that_others_may_read(config: Path) -> None:
    config.chmod(0o644)
    assert f"chmod 600 {config}" in streamd(config, "check").stdout
    config.chmod(0o600)
    assert "chmod" not in streamd(config, "check").stdout


def test_several_faults_are_said_at_once(config: Path) -> None:
    config.write_text(GOOD.replace("port", "prot").replace('"store"', '""'), encoding="utf-8")
    done = streamd(config, "run")
    assert done.exit_code == 2
    assert "server.prot" in done.stderr
    assert "site.name" in done.stderr


def test_the_configuration_may_be_named_before_or_after_the_verb_or_in_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, environment in (
        (["--config", str(config), "status"], None),
        (["status", "--config", str(config)], None),
        (["keys", "list", "--config", str(config)], None),
        (["status"], str(config)),
    ):
        if environment:
            monkeypatch.setenv("STREAMD_CONFIG", environment)
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 3, f"{arguments}: {done.output}"
        assert "streamd install" in done.stderr
