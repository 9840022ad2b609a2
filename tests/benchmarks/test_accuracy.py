"""The whole measurement, small: a server of its own, bundled recordings, tables, files, exit code."""

import json

import pytest

from benchmarks import accuracy, evalset, report, server

BUNDLED = str(evalset.PLACES[-1])


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"# Accuracy\n\n{report.BEGIN}\nold\n{report.END}\n")
    return path


def test_a_sample_is_measured_and_written(tmp_path, page, capsys):
    """Two recordings of known voices and two without speech, 20 times faster than real time."""
    out = tmp_path / "out.json"

    code = accuracy.main(
        f"--place {BUNDLED} --sets seen,silence --every 6 --speed 20 --parallel 2 --no-whole-file "
        f"--json {out} --report {page}".split()
    )

    told = json.loads(out.read_text())
    assert (code, told["conditions"]["failures"]) == (0, [])
    assert [(r["id"], bool(r["text"])) for r in told["recordings"]] == [
        ("seen_000", True),
        ("seen_060", True),
        ("silence_008", False),
        ("silence_006", False),
    ]
    assert told["rows"][0]["streamed"] < 50.0
    assert told["rows"][0]["shown"] == [None, None]
    assert "| seen | 2 |" in page.read_text()
    assert "| silence | 2 | 0 |" in page.read_text()
    assert "--sets seen,silence" in capsys.readouterr().out


def test_recordings_whose_session_fails_are_named_and_the_page_is_left_alone(page, capsys):
    """Nothing listens on the discard port: no figures, exit code 1."""
    code = accuracy.main(
        f"--place {BUNDLED} --sets seen --every 6 --url ws://127.0.0.1:9/v1/stream "
        f"--no-reference --no-whole-file --report {page}".split()
    )

    assert code == 1
    assert "seen_000 failed: ConnectError" in capsys.readouterr().out
    assert "old" in page.read_text()


async def test_a_server_that_cannot_start_is_not_waited_for(tmp_path):
    with pytest.raises(server.ServerError, match="before it was ready"):
        async with server.running(str(tmp_path / "no-model")):
            pytest.fail("there is no such model")
