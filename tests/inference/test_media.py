"""Any container becomes the same mono 16 kHz samples: whole, from an offset, while it arrives; faults are told."""

import functools
import io
import queue
import threading
import wave

import av
import numpy as np
import pytest
from recordings import FORMATS, SECONDS, chirp, recording, silent_film

from streamasr.errors import ClientError, MediaError, TooLarge
from streamasr.inference.media import GrowingFile, MediaInfo, MediaLimits, decode, probe

RATE = 16_000
WAIT_S = 20
"""Longer than anything here takes: a test that waits so long has failed."""

made = functools.cache(recording)


def heard(source, **options):
    blocks = list(decode(source, **options))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def alike(samples, expected, *, shift_ms=2):
    """Correlation of two stretches, shifted as is best: a container's clock may count in milliseconds."""
    shift = shift_ms * RATE // 1000
    n = min(len(samples), len(expected)) - 2 * shift
    middle = expected[shift : shift + n]
    return max(np.corrcoef(samples[shift + k : shift + k + n], middle)[0, 1] for k in range(-shift, shift + 1))


def loudness(samples):
    """Root mean square of each tenth of a second."""
    n = RATE // 10
    return [float(np.sqrt(np.mean(samples[i : i + n] ** 2))) for i in range(0, len(samples) - n + 1, n)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_container_gives_the_same_audio(name):
    blocks = list(decode(io.BytesIO(made(name))))
    samples = np.concatenate(blocks)

    assert all(block.dtype == np.float32 and block.ndim == 1 and 0 < len(block) <= RATE for block in blocks)
    assert len(samples) == pytest.approx(SECONDS * RATE, abs=0.05 * RATE)
    # Without an index, nothing tells that AAC's first 23 ms are not part of the recording.
    assert alike(samples, chirp(RATE), shift_ms=24) > 0.99
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("name", FORMATS)
def test_an_offset_and_a_duration_give_that_stretch_of_the_whole(name):
    source = io.BytesIO(made(name))
    whole = heard(source)

    for offset, duration in [(0.3, 1.2), (2.5, 1.0)]:
        stretch = heard(source, offset_s=offset, duration_s=duration)
        assert len(stretch) == pytest.approx(duration * RATE, abs=1)
        assert alike(stretch, whole[round(offset * RATE) : round((offset + duration) * RATE)]) > 0.99


@pytest.mark.parametrize("name", ["wav", "mp3", "ts"])
def test_an_offset_beyond_the_end_gives_nothing(name):
    assert len(heard(io.BytesIO(made(name)), offset_s=100)) == 0


def test_a_path_as_text_or_path_is_read(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(made("wav"))

    assert np.array_equal(heard(str(path)), heard(path))
    assert np.array_equal(heard(path), heard(io.BytesIO(made("wav"))))


def test_a_callers_file_is_read_from_its_beginning_and_left_open():
    file = io.BytesIO(made("wav"))
    file.seek(0, io.SEEK_END)

    assert len(heard(file)) == SECONDS * RATE
    assert not file.closed


@pytest.mark.parametrize("name", ["wav", "flac", "opus"])
def test_both_channels_are_heard_and_a_full_scale_mix_does_not_clip(name):
    tone = chirp(FORMATS[name][2]) * 2.4
    silence = np.zeros_like(tone)

    left = heard(io.BytesIO(recording(name, samples=np.stack([tone, silence]))))
    right = heard(io.BytesIO(recording(name, samples=np.stack([silence, tone]))))
    both = heard(io.BytesIO(recording(name, samples=np.stack([tone, tone]))))

    assert np.sqrt(np.mean(left**2)) == pytest.approx(0.34, rel=0.1)
    assert np.sqrt(np.mean(right**2)) == pytest.approx(0.34, rel=0.1)
    assert np.sqrt(np.mean(both**2)) == pytest.approx(0.68, rel=0.1)


@pytest.mark.parametrize(("channels", "rate", "width"), [(3, 16_000, 2), (8, 8_000, 2), (1, 11_025, 1), (2, 96_000, 3)])
def test_odd_wav_files_are_read(channels, rate, width):
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((channels, width, rate, 0, "NONE", ""))
        written.writeframes(bytes(channels * width * rate))

    assert len(heard(file)) == pytest.approx(RATE, abs=2)


@pytest.mark.parametrize("name", ["webm video", "mkv video", "ts"])
def test_a_gap_in_the_timestamps_is_silence(name):
    levels = loudness(heard(io.BytesIO(recording(name, gap=(2.0, 1.5)))))

    assert len(levels) == pytest.approx(55, abs=1)
    assert min(levels[1:19]) > 0.2
    assert max(levels[22:34]) < 0.01
    assert min(levels[37:53]) > 0.2


def test_time_0_is_the_first_timestamp_of_the_file():
    samples = heard(io.BytesIO(recording("webm video", start=5.0)))

    assert len(samples) == pytest.approx(SECONDS * RATE, abs=0.05 * RATE)
    assert alike(samples, chirp(RATE), shift_ms=8) > 0.99  # Opus begins 6.5 ms early


def test_files_joined_together_are_heard_to_their_end():
    """Their timestamps begin anew in the middle; MP3's tag there is a broken packet, of no consequence."""
    for name in ("ts", "mp3"):
        samples = heard(io.BytesIO(made(name) * 2))
        assert len(samples) == pytest.approx(2 * SECONDS * RATE, abs=0.15 * RATE)


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate"),
    [
        ("wav", "wav", "pcm_s16le", 44_100),
        ("flac", "flac", "flac", 44_100),
        ("webm video", "matroska,webm", "opus", 48_000),
    ],
)
def test_probing_tells_what_the_head_says_and_leaves_the_file_where_it_was(name, container, codec, rate):
    file = io.BytesIO(made(name))
    file.seek(7)

    info = probe(file)

    assert info == MediaInfo(
        duration_s=pytest.approx(SECONDS, abs=0.1), container=container, codec=codec, sample_rate=rate, channels=2
    )
    assert file.tell() == 7


def test_a_file_whose_head_does_not_know_its_duration_has_none():
    raw = bytearray(made("wav"))
    at = raw.index(b"data") + 4
    raw[at : at + 4] = raw[4:8] = b"\xff\xff\xff\xff"

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    assert probe(Pipe(bytes(raw))).duration_s is None
    assert len(heard(Pipe(bytes(raw)))) == SECONDS * RATE


# While it arrives.


def pieces(data):
    """Data in pieces of odd sizes."""
    random = np.random.default_rng(1)
    at = 0
    while at < len(data):
        size = int(random.choice([1, 13, 1000, 30_000]))
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize("name", FORMATS)
def test_a_growing_file_gives_what_the_whole_file_gives(name):
    data = made(name)

    with GrowingFile() as file:

        def produce():
            for piece in pieces(data):
                file.write(piece)
            file.finish()

        producer = threading.Thread(target=produce)
        producer.start()
        grown = heard(file)
        producer.join()
    whole = heard(io.BytesIO(data))

    # What an MP3's encoder added at the end is known only to who can seek there.
    assert len(whole) <= len(grown) <= len(whole) + (RATE // 10 if name == "mp3" else 0)
    assert np.array_equal(grown[: len(whole) - 64], whole[:-64])
    assert name == "mp3" or np.array_equal(grown, whole)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "m4a"])
def test_blocks_come_while_the_rest_is_still_to_arrive(name):
    data = recording(name, seconds=30.0, layout="mono")
    blocks = queue.Queue()

    with GrowingFile() as file:

        def consume():
            for block in decode(file):
                blocks.put(block)

        consumer = threading.Thread(target=consume)
        consumer.start()
        file.write(data[: len(data) * 2 // 3])
        first = blocks.get(timeout=WAIT_S)
        file.write(data[len(data) * 2 // 3 :])
        file.finish()
        consumer.join(WAIT_S)

    assert len(first) > 0
    assert len(first) + sum(map(len, blocks.queue)) == pytest.approx(30 * RATE, abs=0.1 * RATE)


def test_an_mp4_with_its_index_at_the_end_waits_for_the_end():
    data = made("m4a")
    assert data.index(b"mdat") < data.index(b"moov")

    with GrowingFile() as file:
        threading.Thread(target=lambda: [file.write(piece) for piece in pieces(data)] and file.finish()).start()
        assert len(heard(file)) == pytest.approx(SECONDS * RATE, abs=0.05 * RATE)


def test_a_producer_that_fails_fails_its_reader_after_what_had_come():
    data = recording("wav", seconds=30.0)
    blocks = []

    with GrowingFile() as file:
        file.write(data[: len(data) // 2])
        file.fail(MediaError("the line is dead"))
        with pytest.raises(MediaError, match="the line is dead"):
            blocks.extend(decode(file))

    assert sum(map(len, blocks)) == pytest.approx(15 * RATE, abs=0.1 * RATE)


def test_closing_a_growing_file_wakes_who_waits_for_its_bytes():
    file = GrowingFile("upload 7")
    faults = queue.Queue()

    def consume():
        try:
            list(decode(file))
        except ClientError as error:
            faults.put(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    file.write(made("wav")[:1000])
    file.close()

    assert "upload 7 was closed before" in str(faults.get(timeout=WAIT_S))
    consumer.join(WAIT_S)


# Faults.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "talk.bin is empty."),
        (b"Dear Sir or Madam, " * 100, "talk.bin is not audio or video in a form that we can read"),
        (bytes(np.random.default_rng(1).integers(0, 256, 50_000, np.uint8)), "talk.bin is not audio or video"),
    ],
    ids=["empty", "text", "noise"],
)
def test_what_is_no_recording_is_told_in_a_sentence(tmp_path, content, message):
    path = tmp_path / "talk.bin"
    path.write_bytes(content)

    for read in (heard, probe):
        with pytest.raises(MediaError) as raised:
            read(path)
        assert message in str(raised.value)
        assert str(raised.value).endswith(".")


def test_a_video_without_audio_has_no_audio(tmp_path):
    (tmp_path / "film.mkv").write_bytes(silent_film())

    with pytest.raises(MediaError, match=r"film.mkv has no audio\."):
        heard(tmp_path / "film.mkv")


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat"])
def test_a_playlist_cannot_make_the_server_open_other_files(tmp_path, name):
    (tmp_path / "secret.ts").write_bytes(made("ts"))
    secret = tmp_path / "secret.ts"
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    if name == "list.ffconcat":
        text = f"ffconcat version 1.0\nfile '{secret}'\n"
    (tmp_path / name).write_text(text)

    with pytest.raises(MediaError, match=rf"{name} is not audio or video"):
        heard(tmp_path / name)


@pytest.mark.parametrize("name", ["mp3", "m4a"])
def test_of_a_damaged_file_what_decodes_is_kept_and_the_place_is_named(name):
    data = bytearray(made(name, seconds=20.0))
    middle = len(data) // 2
    data[middle : middle + 8000] = np.random.default_rng(1).integers(0, 256, 8000, np.uint8).tobytes()
    blocks = []

    with pytest.raises(MediaError, match=r"talk is damaged at (9|10)\.\d s: "):
        blocks.extend(decode(named(bytes(data), "talk")))

    assert sum(map(len, blocks)) == pytest.approx(20 * RATE, abs=0.6 * RATE)


def test_a_file_that_was_cut_off_gives_what_there_is_and_says_so_if_its_head_says_more():
    whole, fragments = made("flac", seconds=20.0), made("m4a streamable", seconds=20.0)
    blocks = []

    with pytest.raises(MediaError, match=r"talk is cut off: it ends at \d+\.\d s, though its head says 20\.0 s\."):
        blocks.extend(decode(named(whole[: len(whole) // 2], "talk")))

    assert sum(map(len, blocks)) == pytest.approx(10 * RATE, abs=1.5 * RATE)
    assert len(heard(io.BytesIO(fragments[: len(fragments) // 2]))) == pytest.approx(10 * RATE, abs=1.5 * RATE)


def test_a_wav_that_was_cut_off_is_told_although_ffmpeg_takes_it_for_whole():
    cut = made("wav", seconds=20.0)
    cut = cut[: len(cut) // 3]
    message = r"talk is cut off: it ends at 6\.7 s, though its head says 20\.0 s\."
    blocks = []

    with pytest.raises(MediaError, match=message):
        blocks.extend(decode(named(cut, "talk")))
    assert sum(map(len, blocks)) == pytest.approx(20 / 3 * RATE, abs=0.1 * RATE)
    with GrowingFile("talk") as upload:
        upload.write(cut)
        upload.finish()
        with pytest.raises(MediaError, match=message):
            list(decode(upload))
    assert len(heard(io.BytesIO(cut), duration_s=5.0)) == 5 * RATE


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_wav_that_was_streamed_and_does_not_know_its_size_is_whole(size):
    raw = bytearray(made("wav"))
    at = raw.index(b"data") + 4
    raw[at : at + 4] = size.to_bytes(4, "little")

    assert len(heard(io.BytesIO(raw))) == SECONDS * RATE


def named(data, name):
    file = io.BytesIO(data)
    file.name = name
    return file


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (MediaLimits(max_bytes=1000), "the audio is larger than the 1000 bytes that are allowed."),
        (MediaLimits(max_seconds=2.5), "the audio is longer than the 2.5 s that are allowed."),
    ],
)
def test_limits_are_kept(limits, message):
    with pytest.raises(TooLarge) as raised:
        heard(io.BytesIO(made("mp3")), limits=limits)

    assert str(raised.value) == message


def test_a_file_that_claims_more_audio_than_bytes_can_hold_is_stopped_early():
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 1, 1, 0, "NONE", ""))  # one sample a second
        written.writeframes(bytes(10_000))
    blocks = []

    with pytest.raises(TooLarge, match="claims more audio than its 10044 bytes can hold"):
        blocks.extend(decode(file))

    assert sum(map(len, blocks)) < 1200 * RATE


def test_a_quiet_recording_in_a_lean_codec_is_within_the_ratio():
    silence = np.zeros((1, 48_000 * 75), np.float32)

    assert len(heard(io.BytesIO(recording("opus", samples=silence, layout="mono")))) == 75 * RATE


def test_closing_the_iterator_closes_the_file_it_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(made("wav"))
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda file, *args, **options: opened.append(file) or real(file, *args, **options))

    blocks = decode(path)
    next(blocks)
    assert not opened[0].closed
    blocks.close()

    assert opened[0].closed


def test_ffmpeg_stays_quiet_and_its_log_level_is_left_alone(capfd):
    level = av.logging.get_level()
    data = bytearray(made("mp3"))
    data[20_000:24_000] = bytes(4000)

    with pytest.raises(MediaError):
        heard(io.BytesIO(b"not audio" * 100))
    heard(io.BytesIO(bytes(data)))

    assert capfd.readouterr() == ("", "")
    assert av.logging.get_level() == level
