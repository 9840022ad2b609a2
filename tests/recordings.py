"""Recordings in any container, made by FFmpeg itself: a tone that climbs, so that every stretch is known by ear."""

import io
from fractions import Fraction

import av
import numpy as np

SECONDS = 4.0
FORMATS = {
    "wav": ("wav", "pcm_s16le", 44_100),
    "flac": ("flac", "flac", 44_100),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("mp4", "aac", 44_100),
    "m4a streamable": ("mp4", "aac", 44_100),
    "webm video": ("webm", "libopus", 48_000),
    "mkv video": ("matroska", "aac", 48_000),
    "ts": ("mpegts", "aac", 48_000),
}


def chirp(rate, seconds=SECONDS):
    """From 200 to 1000 Hz, amplitude 0.4."""
    t = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * t + 400 / seconds * t**2))).astype(np.float32)


def recording(name, *, samples=None, start=0.0, gap=None, layout="stereo", seconds=SECONDS):
    """The bytes of a file.

    ``samples`` of shape (n,) or (channels, n) stand for the chirp; ``start`` is the first timestamp, and from
    ``gap[0]`` seconds on, timestamps are ``gap[1]`` later.
    """
    container_format, codec, rate = FORMATS[name]
    samples = chirp(rate, seconds) if samples is None else samples
    channels = 1 if layout == "mono" else 2
    samples = np.broadcast_to(samples, (channels, samples.shape[-1]))
    options = {"movflags": "empty_moov+frag_keyframe", "frag_duration": "500000"} if "streamable" in name else {}
    target = io.BytesIO()
    with av.open(target, "w", format=container_format, options=options) as container:
        video = _video(container) if "video" in name else None
        stream = container.add_stream(codec, rate=rate, layout=layout)
        size = stream.codec_context.frame_size or 1024
        for begin in range(0, samples.shape[-1], size):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, begin : begin + size]), format="fltp", layout=layout
            )
            late = gap[1] if gap and begin >= gap[0] * rate else 0.0
            frame.sample_rate = rate
            frame.pts = begin + int((start + late) * rate)
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
            if video is not None and begin // size % 10 == 0:
                container.mux(video.encode(_picture(frame.pts / rate)))
        container.mux(stream.encode(None))
        if video is not None:
            container.mux(video.encode(None))
    return target.getvalue()


def silent_film():
    """A video without audio."""
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        video = _video(container)
        for i in range(5):
            container.mux(video.encode(_picture(i / 10)))
        container.mux(video.encode(None))
    return target.getvalue()


def _video(container):
    video = container.add_stream("libvpx", rate=25)
    video.width = video.height = 32
    video.pix_fmt = "yuv420p"
    return video


def _picture(seconds):
    picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    picture.pts = round(seconds * 1000)
    picture.time_base = Fraction(1, 1000)
    return picture
