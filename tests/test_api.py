"""The Python API on the embedded model and real speech: the words, the errors, and that nothing stays behind."""

import asyncio
import inspect
import json
import subprocess
import sys
import threading
import typing
import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest

import streamasr
from streamasr import embedded
from streamasr.bench.scoring import wer
from streamasr.core.options import FileOptions, SessionOptions
from streamasr.errors import ConfigError, EngineError, InvalidSetting, MediaError, ModelError
from streamasr_client import Done, Final, Partial, Ready

DATA = Path(__file__).parent / "data"
DEMO = Path(streamasr.__file__).parent / "data" / "demo.wav"
TRUTH = " ".join(word["word"] for word in json.loads(DEMO.with_suffix(".json").read_text("utf-8"))["words"])


def pcm(seconds=None):
    with wave.open(str(DEMO)) as recording:
        count = recording.getnframes() if seconds is None else round(seconds * recording.getframerate())
        return recording.readframes(count)


@pytest.fixture(scope="module")
def recognizer():
    with streamasr.Recognizer("nano", device="cpu") as loaded:
        yield loaded


def test_importing_the_package_loads_nothing_heavy():
    script = "import sys, streamasr; dir(streamasr); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert not {"numpy", "ctranslate2", "onnxruntime", "av", "msgspec", "asyncio"} & set(done.stdout.split())


def test_every_name_of_the_package_is_there():
    assert all(getattr(streamasr, name) is not None for name in streamasr.__all__)
    with pytest.raises(AttributeError, match="transscribe"):
        _ = streamasr.transscribe


def test_a_recording_becomes_text_words_and_captions(recognizer, tmp_path):
    transcript = recognizer.transcribe(DEMO, language="en")

    assert wer([(TRUTH, transcript.text)]) < 15
    assert transcript.language == "en"
    assert transcript.model == "nano"
    with wave.open(str(DEMO)) as recording:
        length_s = recording.getnframes() / recording.getframerate()
    assert transcript.duration == pytest.approx(length_s, abs=0.05)
    assert " ".join(word.text for word in transcript.words) == transcript.text
    starts = [word.start for word in transcript.words]
    assert starts == sorted(starts)
    assert starts[0] >= 0
    assert transcript.words[-1].end <= length_s
    transcript.save_srt(tmp_path / "demo.srt")
    transcript.save_vtt(tmp_path / "demo.vtt")
    assert transcript.words[0].text in (tmp_path / "demo.srt").read_text("utf-8")
    assert (tmp_path / "demo.vtt").read_text("utf-8").startswith("WEBVTT")


def test_one_call_does_it_all():
    path = DATA / "seen" / "seen_000.flac"

    alone = streamasr.transcribe(path, model="nano", language="en")
    (first, second) = streamasr.transcribe_batch([path, DEMO], model="nano", language="en")

    assert first == alone
    assert wer([(TRUTH, second.text)]) < 15


def test_a_file_that_is_open_is_taken_too(recognizer):
    with DEMO.open("rb") as opened:
        assert recognizer.transcribe(opened, language="en").text == recognizer.transcribe(DEMO, language="en").text


async def test_it_works_where_a_loop_is_running_as_in_a_notebook(recognizer):
    assert recognizer.transcribe(DEMO, language="en").text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"language": "fr"}, "language"),
        ({"task": "translate"}, "task"),
        ({"beam_size": 0}, "^beam_size: expected an integer from 1 to 20, got 0$"),
        ({"temperatures": [0, 2]}, r"^temperatures: expected numbers from 0 to 1, such as 0,0.2,0.4, got \[0,2\]$"),
        ({"languages": "en"}, '^languages: expected at most 100 lower-case language codes such as en,de, got "en"$'),
        ({"prompt": b"x", "task": "transcribe"}, "^prompt: expected text of at most 2000 characters, got "),
        ({"prompt": DEMO}, "^prompt: expected text of at most 2000 characters, got "),
        ({"word_timestamps": 1}, "^word_timestamps: expected true or false, got 1$"),
        ({"temperature": 1}, '^there is no setting "temperature"; did you mean temperatures\\?$'),
        ({"offset": 1}, '^there is no setting "offset"'),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(recognizer, options, told):
    with pytest.raises(InvalidSetting, match=told) as error:
        recognizer.transcribe(DEMO, **options)
    assert error.value.field in options
    with pytest.raises(InvalidSetting, match=told):
        recognizer.transcribe_batch([], **options, return_errors=True)


def test_one_bad_recording_of_a_batch_costs_no_other_if_errors_are_returned(recognizer, tmp_path):
    (tmp_path / "notes.wav").write_text("not audio")
    sources = [tmp_path / "notes.wav", DATA / "seen" / "seen_000.flac", tmp_path / "missing.wav"]

    notes, transcript, missing = recognizer.transcribe_batch(sources, language="en", return_errors=True)

    assert isinstance(notes, MediaError)
    assert "notes.wav" in str(notes)
    assert transcript == recognizer.transcribe(sources[1], language="en")
    assert isinstance(missing, MediaError)
    assert "missing.wav" in str(missing)
    with pytest.raises(MediaError, match=r"notes\.wav|missing\.wav"):
        recognizer.transcribe_batch(sources, language="en")
    (alone,) = streamasr.transcribe_batch([sources[0]], model="nano", return_errors=True)
    assert str(alone) == str(notes)


def test_it_is_told_which_model_it_is_and_what_to_know_of_it(recognizer):
    assert (recognizer.model, recognizer.reason, recognizer.notice) == ("nano", "", "")
    recognizer._inner._services = msgspec.structs.replace(recognizer._inner._services, notice="not what was wanted")
    assert recognizer.notice == "not what was wanted"
    recognizer._inner._services = msgspec.structs.replace(recognizer._inner._services, notice="")


def test_what_is_no_audio_is_one_sentence(recognizer, tmp_path):
    (tmp_path / "notes.wav").write_text("not audio")
    with pytest.raises(MediaError, match=r"notes\.wav"):
        recognizer.transcribe(tmp_path / "notes.wav")
    with pytest.raises(MediaError, match=r"missing\.wav"):
        recognizer.transcribe(tmp_path / "missing.wav")


def test_a_wrong_model_or_device_is_told_and_leaves_no_thread():
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "recognizer"]

    before = threads()
    with pytest.raises(ModelError, match="nanno"):
        streamasr.Recognizer("nanno")
    with pytest.raises(ConfigError, match="device"):
        streamasr.Recognizer("nano", device="gpu")
    assert threads() == before


async def test_live_audio_becomes_the_events_that_clients_know():
    async def chunks():
        audio = pcm()
        for at in range(0, len(audio), 6_400):
            yield audio[at : at + 6_400]

    events = [event async for event in streamasr.stream(chunks(), model="nano", language="en", sample_rate=16_000)]

    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Done)
    finals = [event for event in events if isinstance(event, Final)]
    assert wer([(TRUTH, " ".join(final.text for final in finals))]) < 20
    for partial in (event for event in events if isinstance(event, Partial)):
        (final,) = (final for final in finals if final.utterance == partial.utterance)
        assert final.text.startswith(partial.stable)


async def test_live_audio_may_come_from_what_is_not_asynchronous():
    audio = pcm(2.0)
    events = [
        event
        async for event in streamasr.stream(iter([audio, b""]), model="nano", language="en", interim_results=False)
    ]

    assert not [event for event in events if isinstance(event, Partial)]
    assert [event.text for event in events if isinstance(event, Final)] != []


async def test_a_source_that_fails_and_a_reader_that_leaves_end_the_stream():
    def broken():
        yield pcm(1.0)
        raise OSError("the microphone was unplugged")

    async with streamasr.recognizer("nano", device="cpu", purpose="live") as loaded:
        with pytest.raises(EngineError, match="unplugged"):
            async for _ in loaded.stream(broken(), language="en"):
                pass
        before = asyncio.all_tasks()
        events = loaded.stream([pcm()], language="en")
        async for event in events:
            if isinstance(event, Partial):
                break
        await events.aclose()
        assert {task for task in asyncio.all_tasks() - before if task.get_name() != "batch"} == set()
        with pytest.raises(InvalidSetting, match="language"):
            async for _ in loaded.stream([b""], language="fr"):
                pass


async def test_a_model_is_kept_in_asyncio_code_by_what_the_other_takes():
    """The how-to's last line; what is wrong is told before anything is loaded."""
    own = [name for name in inspect.signature(streamasr.recognizer).parameters if name != "purpose"]
    assert own == list(inspect.signature(streamasr.Recognizer).parameters)
    async with streamasr.recognizer("nano", compute_type="int8", threads=1) as loaded:
        assert (loaded.model, loaded.notice) == ("nano", "")
        assert (await loaded.transcribe(DATA / "seen" / "seen_000.flac", language="en")).text
    for wrong in ({"device": "gpu"}, {"threads": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            async with streamasr.recognizer("nano", **wrong):
                pass


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"endpointing_ms": 500.5}, "^endpointing_ms: expected an integer from 0 to 10000, got 500.5$"),
        ({"sample_rate": np.int64(5)}, "^sample_rate: expected an integer from 8000 to 48000, got "),
        ({"endpointing": 500}, '^there is no setting "endpointing"; did you mean'),
    ],
)
async def test_a_wrong_setting_of_live_audio_is_named_with_what_was_expected(settings, told):
    with pytest.raises(InvalidSetting, match=told):
        async for _ in streamasr.stream([b""], model="nano", **settings):
            pass


def test_the_keyword_arguments_are_the_fields_of_the_options():
    assert set(embedded.FileSettings.__annotations__) == {field.name for field in msgspec.structs.fields(FileOptions)}
    live = {field.name for field in msgspec.structs.fields(SessionOptions)}
    assert set(typing.get_type_hints(embedded.StreamSettings)) == live | {"encoding", "sample_rate", "channels"}


def test_samples_of_silence_give_an_empty_transcript(recognizer, tmp_path):
    with wave.open(str(tmp_path / "silence.wav"), "wb") as silence:
        silence.setparams((1, 2, 16_000, 0, "NONE", ""))
        silence.writeframes(np.zeros(32_000, "<i2").tobytes())

    transcript = recognizer.transcribe(tmp_path / "silence.wav")

    assert (transcript.text, transcript.segments) == ("", ())
    assert transcript.duration == pytest.approx(2.0)
