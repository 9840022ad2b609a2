"""Equal work: everybody says so many tokens for a second of audio, whatever is heard."""

import pytest

from benchmarks import equal_work, evalset
from benchmarks.files import BATCHED, OURS, PLAIN, Figures
from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.inference.models import resolve
from tests import whispers


@pytest.fixture(scope="module")
def size():
    try:
        whispers.source()
    except RuntimeError as error:
        pytest.skip(str(error))
    return whispers.SIZES["tiny"].shrunk


def test_a_window_has_the_tokens_that_speech_of_its_length_has(size, tmp_path):
    model = equal_work.endless(size, tmp_path)
    engine = equal_work.Measured(resolve(str(model)), threads=1)
    windows = [
        Window(lane="", number=n, kind="file", anchor=0, pcm=bytes(2 * seconds * SAMPLE_RATE),
               encoder_samples=10 * SAMPLE_RATE, language="en", max_new_tokens=200)
        for n, seconds in enumerate((2, 8))
    ]  # fmt: skip

    answers = engine.transcribe(windows)

    assert [sum(len(word.tokens) for word in answer.words) for answer in answers] == [6, 24]


@pytest.mark.parametrize("batched", [True, False])
def test_others_have_as_many_for_a_chunk(size, batched, tmp_path):
    """Whatever they hear: ten seconds are one chunk, padded to thirty."""
    system = equal_work.FasterWhisper(equal_work.endless(size, tmp_path), 1, 5, batched=batched)
    whole, tokens = system._transcribe, []

    def counted(*args, **options):
        segments, info = whole(*args, **options)
        segments = list(segments)
        tokens.extend(len(segment.tokens) for segment in segments)
        return segments, info

    system._transcribe = counted
    (recording, *_) = evalset.load(evalset.PLACES[-1], ("seen",))
    system.transcribe(evalset.PLACES[-1] / recording.path, "en")

    assert sum(tokens) == equal_work.CHUNK_TOKENS


def test_every_system_transcribes_a_file(size, monkeypatch, capsys):
    monkeypatch.setitem(whispers.SIZES, "tiny", size)

    code = equal_work.main(f"--place {evalset.PLACES[-1]} --sets seen --every 99 --rounds 1 --beam 1".split())

    assert code == 0
    said = capsys.readouterr().out
    assert all(f"{name}: rounds " in said for name in (OURS, BATCHED, PLAIN))


def test_the_table_says_how_many_times_as_fast_we_are():
    ours, other = (Figures(name=name, speeds=[speed], errors=[], texts=[]) for name, speed in (("a", 8.0), ("b", 2.0)))
    assert equal_work.table([ours, other]).lines == (("a", "8.0", "–"), ("b", "2.0", "4.00"))
