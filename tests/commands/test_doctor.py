"""``streamasr doctor``: what it prints, and its exit code."""

import argparse
import io
import json

import pytest
from rich.console import Console

from streamasr.commands import doctor as command
from streamasr.errors import ConfigError
from streamasr.ops import doctor
from streamasr.ops.checks import Finding

FINE = Finding(check="CPU", found="8 cores")
WARNED = Finding(check="hub", status="warning", found="silent [Errno 2]", advice="set HF_ENDPOINT")
FAILED = Finding(check="GPU", status="failed", found="not there", advice="pip install 'streamasr[cuda]'")


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(argv))


@pytest.fixture
def findings(monkeypatch):
    """What the doctor will find, and the settings it was asked about."""
    wanted, asked = [], []

    def examine(settings):
        asked.append(settings)
        yield from wanted

    monkeypatch.setattr(doctor, "examine", examine)
    return wanted, asked


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ([FINE], 0, "All is well."),
        ([FINE, WARNED], 0, "The server can run; 1 of 2 checks gave a warning."),
        ([FINE, WARNED, FAILED], 1, "1 of 3 checks failed, 1 gave a warning."),
    ],
)
def test_the_exit_code_is_1_only_if_something_needed_fails(findings, capsys, found, code, says):
    findings[0].extend(found)
    assert run() == code
    out = capsys.readouterr().out
    assert out.strip().endswith(says)
    for finding in found:
        assert finding.found in out
        assert finding.advice in out


def test_json_is_every_finding(findings, capsys):
    findings[0].extend([FINE, FAILED])
    assert run("--json") == 1
    assert json.loads(capsys.readouterr().out) == [
        {"check": "CPU", "status": "ok", "found": "8 cores", "advice": ""},
        {"check": "GPU", "status": "failed", "found": "not there", "advice": "pip install 'streamasr[cuda]'"},
    ]


def test_it_examines_what_the_server_would_be_started_with(findings, monkeypatch):
    monkeypatch.setenv("STREAMASR_THREADS", "3")
    run("--port", "9000", "--model", "nano")
    (settings,) = findings[1]
    assert (settings.port, settings.model, settings.threads) == (9000, "nano", 3)


def test_a_wrong_setting_is_refused_like_the_servers():
    with pytest.raises(ConfigError, match="--port"):
        run("--port", "many")


def test_the_table_keeps_long_text_and_brackets(findings):
    """In a narrow terminal too."""
    console = Console(file=io.StringIO(), width=40)
    command.show([FAILED, WARNED], console)
    words = console.file.getvalue().split()
    assert "'streamasr[cuda]'" in words
    assert "[Errno" in words
