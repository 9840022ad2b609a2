"""streamasr_client.wav: reading recordings, and their pace."""

import asyncio
import wave

import pytest

from streamasr_client import AudioFileError, Done, Recording, paced, read_wav, stream_wav


def write(path, *, width=2, channels=1, seconds=0.5):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(bytes(int(seconds * 8000) * width * channels))
    return path


def test_a_wav_file_says_what_it_is(tmp_path):
    recording = read_wav(write(tmp_path / "a.wav", channels=2))

    assert recording.settings == {"encoding": "pcm_s16le", "sample_rate": 8000, "channels": 2}
    assert recording.seconds == 0.5
    assert len(recording.data) == 16_000


def test_what_cannot_be_streamed_is_said(tmp_path):
    (tmp_path / "text.wav").write_text("not audio at all, sorry")
    (tmp_path / "empty.wav").write_bytes(b"")
    write(tmp_path / "deep.wav", width=3)

    with pytest.raises(AudioFileError, match=r"text\.wav is not a 16-bit PCM WAV file"):
        read_wav(tmp_path / "text.wav")
    with pytest.raises(AudioFileError, match=r"empty\.wav is not a 16-bit PCM WAV file"):
        read_wav(tmp_path / "empty.wav")
    with pytest.raises(AudioFileError, match="24-bit samples"):
        read_wav(tmp_path / "deep.wav")
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")


async def test_chunks_come_when_they_would_have_been_spoken():
    recording = Recording(bytes(range(200)) * 8, 8000, 1)  # 0.1 s
    loop = asyncio.get_running_loop()
    began = loop.time()
    chunks, times = [], []
    async for chunk in paced(recording, chunk_s=0.03, speed=2.0, started_at=began):
        chunks.append(chunk)
        times.append(loop.time() - began)

    assert b"".join(chunks) == recording.data
    assert [len(chunk) for chunk in chunks] == [480, 480, 480, 160]
    assert all(time >= due - 0.001 for time, due in zip(times, [0.015, 0.03, 0.045, 0.05], strict=True))


async def test_without_a_speed_chunks_come_at_once():
    recording = Recording(bytes(16_000 * 600), 8000, 1)
    began = asyncio.get_running_loop().time()

    assert sum([len(chunk) async for chunk in paced(recording, speed=None, chunk_s=10.0)]) == len(recording.data)
    assert asyncio.get_running_loop().time() - began < 60


async def test_a_file_is_streamed_with_its_own_settings(tmp_path, server):
    async def script(caller):
        start = await caller.ready()
        assert start == {"encoding": "pcm_s16le", "sample_rate": 8000, "channels": 2, "language": "en"}
        await caller.hear(16_000)
        await caller.done(0.5, 0)

    server.then(script)
    path = write(tmp_path / "a.wav", channels=2)
    events = [event async for event in stream_wav(server.url, path, realtime=False, language="en", check=True)]

    assert isinstance(events[-1], Done)
