"""Raw audio in any form becomes the same samples however it is cut; the buffer reads as a list would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamasr.core.audio import AudioDecoder, SampleBuffer
from streamasr.core.options import AudioFormat

RATES = [8_000, 11_025, 12_345, 16_000, 22_050, 24_000, 44_100, 47_999, 48_000]
ITEMSIZE = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


def decode_all(audio_format, pieces):
    decoder = AudioDecoder(audio_format)
    parts = [decoder.decode(piece) for piece in pieces]
    return np.concatenate([*parts, decoder.finish()], axis=1)


def tone(hz, rate, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def pcm(samples):
    return np.rint(samples * 32768).astype("<i2").tobytes()


def level_at(hz, samples):
    """Amplitude of one frequency in 16 kHz samples."""
    phase = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 16_000)
    return 2 * abs(np.mean(samples * phase))


def test_int16_is_scaled_by_32768():
    samples = AudioDecoder(AudioFormat()).decode(np.array([0, 1, -1, 32767, -32768], "<i2").tobytes())

    assert samples.dtype == np.float32
    assert samples.tolist() == [[0.0, 1 / 32768, -1 / 32768, 32767 / 32768, -1.0]]


def test_float32_is_clipped_and_what_is_not_finite_becomes_a_counted_zero():
    decoder = AudioDecoder(AudioFormat(encoding="pcm_f32le"))
    raw = np.array([0.25, 1.5, -7.0, np.nan, np.inf, -np.inf, -1.0], "<f4")

    assert decoder.decode(raw.tobytes()).tolist() == [[0.25, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0]]
    assert decoder.non_finite == 3
    assert decoder.decode(raw[3:4].tobytes()).tolist() == [[0.0]]
    assert decoder.non_finite == 4


@pytest.mark.parametrize(
    ("encoding", "codes", "values"),
    [
        # Values of ITU-T G.711 as 16-bit numbers: the ends, the zeros, one within a segment.
        ("mulaw", [0x00, 0x55, 0x7F, 0x80, 0xD5, 0xFF], [-32124, -716, 0, 32124, 716, 0]),
        ("alaw", [0x2A, 0x55, 0xD5, 0xAA, 0x00, 0x80], [-32256, -8, 8, 32256, -5504, 5504]),
    ],
)
def test_g711_codes_have_the_standard_values(encoding, codes, values):
    samples = AudioDecoder(AudioFormat(encoding=encoding)).decode(bytes(codes))

    assert samples.tolist() == [[value / 32768 for value in values]]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_g711_is_odd_and_rises_within_a_sign(encoding):
    samples = AudioDecoder(AudioFormat(encoding=encoding)).decode(bytes(range(256)))[0]

    assert np.array_equal(samples[:128], -samples[128:])
    assert len(np.unique(np.abs(samples))) == 128


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_bytes_cut_anywhere_give_the_same_samples(data):
    audio_format = AudioFormat(
        encoding=data.draw(st.sampled_from(sorted(ITEMSIZE))),
        sample_rate=data.draw(st.sampled_from(RATES)),
        channels=data.draw(st.integers(1, 8)),
    )
    raw = np.random.default_rng(data.draw(st.integers(0, 9))).bytes(data.draw(st.integers(0, 20_000)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))

    whole = decode_all(audio_format, [raw])
    pieces = decode_all(audio_format, [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)])

    assert whole.shape[0] == audio_format.channels
    assert np.array_equal(whole, pieces)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_one_byte_frames_give_the_same_samples_as_one_call(rate):
    audio_format = AudioFormat(sample_rate=rate, channels=2)
    raw = np.random.default_rng(1).bytes(4 * rate // 10)

    whole = decode_all(audio_format, [raw])

    assert np.array_equal(decode_all(audio_format, [raw[i : i + 1] for i in range(len(raw))]), whole)
    assert np.array_equal(decode_all(audio_format, [memoryview(raw)[:5], memoryview(raw)[5:]]), whole)


def test_an_incomplete_sample_is_held_back_until_it_is_whole():
    decoder = AudioDecoder(AudioFormat(channels=2))

    assert decoder.decode(b"\x00\x40\x00").shape == (2, 0)
    assert decoder.pending_bytes == 3
    assert decoder.decode(b"\xc0\x01").tolist() == [[0.5], [-0.5]]
    assert decoder.pending_bytes == 1


@pytest.mark.parametrize("rate", RATES)
def test_resampling_keeps_length_time_and_pitch_of_every_channel(rate):
    click = np.zeros(2 * rate, np.float32)
    click[rate] = 0.9
    raw = pcm(np.stack([click, tone(1_000, rate, 2.0)], axis=1))

    first, second = decode_all(AudioFormat(sample_rate=rate, channels=2), [raw])

    assert len(first) == len(second) == 32_000
    assert abs(int(np.argmax(np.abs(first))) - 16_000) <= 2
    assert level_at(1_000, second[8_000:24_000]) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("rate", "hz", "ghost"), [(8_000, 3_000, 5_000), (48_000, 10_000, 6_000), (24_000, 9_000, 7_000)]
)
def test_resampling_leaves_no_image_and_no_alias(rate, hz, ghost):
    (samples,) = decode_all(AudioFormat(sample_rate=rate), [pcm(tone(hz, rate))])

    assert level_at(ghost, samples[4_000:12_000]) < 0.5e-3


@pytest.mark.parametrize(
    ("rate", "longest"), [(8_000, 0.031), (16_000, 0.0), (24_000, 0.041), (44_100, 0.041), (48_000, 0.041)]
)
def test_the_delay_stays_bounded_however_long_the_stream(rate, longest):
    decoder, fed, got, worst = AudioDecoder(AudioFormat(sample_rate=rate)), 0, 0, 0.0
    for _ in range(1_000):
        got += decoder.decode(bytes(2 * (rate // 50))).shape[1]
        fed += rate // 50
        worst = max(worst, fed / rate - got / 16_000)

    assert worst <= longest


def test_the_buffer_gives_back_the_int16_it_was_decoded_from():
    values = np.array([0, 1, -1, 255, -32768, 32767], "<i2")
    buffer = SampleBuffer(start=48_000)
    buffer.append(AudioDecoder(AudioFormat()).decode(values.tobytes())[0])

    assert (buffer.start, buffer.end) == (48_000, 48_006)
    assert np.array_equal(np.frombuffer(buffer.read(48_000, 48_006), np.int16), values)


def test_the_buffer_clips_what_resampling_overshot():
    buffer = SampleBuffer()
    buffer.append(np.array([1.2, -1.2, 1.0], np.float32))

    assert np.frombuffer(buffer.read(0, 3), np.int16).tolist() == [32767, -32768, 32767]


def test_reading_what_the_buffer_does_not_hold_raises():
    buffer = SampleBuffer()
    buffer.append(np.zeros(100, np.float32))
    buffer.trim(40)

    assert buffer.read(40, 40) == b""
    for start, end in [(39, 50), (40, 101), (60, 50), (0, 10), (101, 101)]:
        with pytest.raises(ValueError, match=r"\[40, 100\)"):
            buffer.read(start, end)


def test_trimming_never_goes_back_and_never_beyond_the_end():
    buffer = SampleBuffer()
    buffer.append(np.zeros(100, np.float32))
    buffer.trim(40)
    buffer.trim(10)

    assert (buffer.start, buffer.end) == (40, 100)

    buffer.trim(500)

    assert (buffer.start, buffer.end) == (100, 100)


def test_a_lane_that_trims_holds_the_memory_of_what_it_holds():
    buffer = SampleBuffer()
    buffer.append(np.zeros(60 * 16_000, np.float32))
    for end in range(61 * 16_000, 400 * 16_000, 16_000):
        buffer.append(np.zeros(16_000, np.float32))
        buffer.trim(end - 2 * 16_000)

    assert len(buffer._data) <= 2 * 3 * 16_000


def test_a_growing_buffer_is_copied_a_few_times_only():
    buffer, copies, data = SampleBuffer(), 0, None
    for _ in range(60 * 50):
        buffer.append(np.zeros(320, np.float32))
        copies += buffer._data is not data
        data = buffer._data

    assert copies <= 8


class BufferAgainstList(RuleBasedStateMachine):
    """Whatever is appended and trimmed, the buffer reads as a plain list would."""

    def __init__(self):
        super().__init__()
        self.buffer = SampleBuffer(start=7)
        self.values = []
        self.trimmed = 0

    @rule(count=st.one_of(st.integers(0, 50), st.integers(10_000, 30_000)))
    def append(self, count):
        new = (np.arange(count) + len(self.values)) % 32_768
        self.values.extend(new.tolist())
        self.buffer.append((new / 32768).astype(np.float32))

    @rule(share=st.floats(0, 1.1))
    def trim(self, share):
        before = int(len(self.values) * share)
        self.buffer.trim(7 + before)
        self.trimmed = max(self.trimmed, min(before, len(self.values)))

    @precondition(lambda self: len(self.values) > self.trimmed)
    @rule(data=st.data())
    def read(self, data):
        start = data.draw(st.integers(self.trimmed, len(self.values)))
        end = data.draw(st.integers(start, len(self.values)))

        assert np.frombuffer(self.buffer.read(7 + start, 7 + end), np.int16).tolist() == self.values[start:end]

    @invariant()
    def bounds(self):
        assert (self.buffer.start, self.buffer.end) == (7 + self.trimmed, 7 + len(self.values))


TestBufferAgainstList = BufferAgainstList.TestCase
TestBufferAgainstList.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
