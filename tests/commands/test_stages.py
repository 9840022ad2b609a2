"""Where the time of a run went: nothing is counted twice, and the factor is that of the whole run."""

import io

import pytest
from rich.console import Console

from streamasr.commands.stages import StageTimes
from streamasr.inference.engine import Stages
from streamasr.inference.files import Preparation, Progress


def progress(seconds: float) -> Progress:
    spent = Preparation(decode_s=seconds, gate_s=2 * seconds, assembly_s=0.5 * seconds)
    return Progress(seconds_done=0.0, seconds_read=0.0, language=None, language_probability=0.0, preparation=spent)


async def items(*of):
    for item in of:
        yield item


async def test_batches_add_up_and_of_each_recording_the_last_account_counts():
    times = StageTimes()
    for _ in range(3):
        times.add_batch(Stages(features_s=0.1, encode_s=1.0, decode_s=2.0, align_s=0.2, assembly_s=0.3))
    first = [progress(1.0), progress(2.0)]
    assert [item async for item in times.watched("a", items(*first))] == first
    assert len([item async for item in times.watched("b", items(progress(4.0)))]) == 1

    assert {name: seconds for name, seconds, _ in times.rows()} == pytest.approx(
        {
            "decode": 6.0,
            "gate": 12.0,
            "features": 0.3,
            "encode": 3.0,
            "decode text": 6.0,
            "align": 0.6,
            "assembly": 3.9,
        }
    )
    out = Console(file=io.StringIO(), width=80)
    out.print(times.table(audio_s=100.0, took_s=20.0))
    shown = out.file.getvalue()
    assert "120.0" in shown  # the gate's milliseconds for a second of audio
    assert "Real-time factor 0.200: 5.0 times as fast as the audio plays" in shown


def test_a_run_without_audio_has_no_factor():
    out = Console(file=io.StringIO(), width=80)
    out.print(StageTimes().table(audio_s=0.0, took_s=1.0))

    assert "factor" not in out.file.getvalue()
