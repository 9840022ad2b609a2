"""What the server knows of itself, from literal batches and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.inference.engine import Stages
from streamasr.inference.worker import BatchRecord
from streamasr.server.stats import LATELY_S, Stats

KINDS = ("first", "partial", "final", "file")


def record(*windows, at=0.0, ages=None, **fields):
    """A batch that ended at ``at``, of windows (lane, kind)."""
    values = {
        "size": len(windows),
        "failed": 0,
        "encoder_samples": 32_000,
        "padded_share": 0.0,
        "queue_ages": tuple(ages or [0.0] * len(windows)),
        "engine_s": 0.01,
        "ended_at": at,
        "devices": 1,
        "lanes": tuple(lane for lane, _ in windows),
        "kinds": tuple(kind for _, kind in windows),
        "spans": ((0, 16_000),) * len(windows),
        "superseded": 0,
    }
    return BatchRecord(**values | fields)


def told(stats, now=0.0):
    return stats.report(now, headroom=1.0, gate_s=0.0, cpu_s=0.0, rss_bytes=None, model=None)


def test_nothing_has_happened_yet():
    report = told(Stats(100.0), 103.0)

    assert report.uptime_s == 3.0
    assert report.queue_age_s.p50 is None
    assert (report.batches.count, report.batches.mean_size, report.batches.padded_share) == (0, 0.0, 0.0)


def test_batches_add_up():
    stats = Stats(0.0)
    stats.batch(record(("a/0", "first"), ("b/0", "final"), ("c/0", "file"), engine_s=0.2, padded_share=0.25, failed=1))
    stats.batch(record(("a/0", "partial"), engine_s=0.1, superseded=3))
    report = told(stats)

    assert report.batches.sizes == {1: 1, 3: 1}
    assert (report.batches.count, report.batches.windows, report.batches.mean_size) == (2, 4, 2.0)
    assert (report.batches.encoder_s, report.batches.padded_s, report.batches.padded_share) == (8.0, 1.5, 1.5 / 8)
    assert report.batches.engine_s == pytest.approx(0.3)
    windows = report.windows
    assert (windows.partial, windows.final, windows.file, windows.superseded, windows.failed) == (2, 1, 1, 3, 1)


def test_stages_are_added_whichever_thread_told_of_them():
    stats = Stats(0.0)
    for _ in range(2):
        stats.stages(Stages(features_s=1, encode_s=2, decode_s=3, align_s=4, assembly_s=5))
    stages = told(stats).stages_s

    assert (stages.features, stages.encode, stages.decode, stages.align, stages.assembly) == (2, 4, 6, 8, 10)


def test_a_files_windows_are_allowed_to_wait_and_count_in_no_queue_age():
    stats = Stats(0.0)
    stats.batch(record(("a/0", "partial"), ("b/0", "final"), ("c/0", "file"), ages=(0.1, 0.2, 5.0)))
    report = told(stats)

    assert (report.queue_age_s.count, report.queue_age_s.p99) == (2, pytest.approx(0.2, abs=0.01))
    assert (report.final_queue_age_s.count, report.final_queue_age_s.p50) == (1, 0.2)


def test_percentiles_forget_what_was_long_ago():
    stats = Stats(0.0)
    stats.final_said(9.0, 1.0)
    stats.final_said(0.3, 30.0)

    assert told(stats, 60.0).speech_to_final_s.count == 2
    assert told(stats, 1.0 + LATELY_S).speech_to_final_s.p99 == 0.3


def test_a_session_speaks_while_live_windows_of_it_run():
    stats = Stats(0.0)
    stats.batch(record(("a/0", "partial"), ("a/1", "final"), ("file", "file"), at=10.0))

    assert told(stats, 11.0).sessions.speaking == 1
    assert told(stats, 16.0).sessions.speaking == 0


def test_sessions_are_counted_in_and_out():
    stats = Stats(0.0)
    for name in "abc":
        stats.session_started(name, 0.0)
    stats.session_ended("b", 1.0)
    stats.session_refused()
    sessions = told(stats).sessions

    assert (sessions.open, sessions.started, sessions.ended, sessions.refused) == (2, 3, 1, 1)


batches = st.lists(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(KINDS)), min_size=1, max_size=6), max_size=30
)


@given(batches)
def test_every_window_is_counted_once(batches):
    stats = Stats(0.0)
    for number, windows in enumerate(batches):
        stats.batch(record(*windows, at=float(number)))
    report = told(stats, float(len(batches)))

    ran = sum(len(windows) for windows in batches)
    assert report.batches.windows == ran == report.windows.partial + report.windows.final + report.windows.file
    assert sum(report.batches.sizes.values()) == report.batches.count == len(batches)
