"""The batcher decides from values: what replaces what, what goes first, and what shares a batch."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from streamasr.core.events import Window
from streamasr.inference.batcher import FILE_BATCH_BESIDE_S, FILE_BATCH_S, LIVE_LATELY_S, Batcher

SECOND = 16_000
BUDGETS = {"first": 0.3, "partial": 0.6, "final": 0.2, "file": 5.0}


def window(lane, number, kind="partial", *, seconds=2.0, beam_size=1):
    return Window(
        lane=lane,
        number=number,
        kind=kind,
        anchor=0,
        pcm=b"",
        encoder_samples=int(seconds * SECOND),
        beam_size=beam_size,
        budget_s=BUDGETS[kind],
    )


def cost(windows, encoder_samples):
    """10 ms a call and 1 ms for each second of each window: padding by less than 10 s in all pays."""
    return 0.010 + 0.001 * windows * encoder_samples / SECOND


def batcher(max_batch_size=8):
    return Batcher(max_batch_size, lambda window: window.beam_size, cost)


def names(windows):
    return [f"{w.lane}{w.number}" for w in windows]


def test_an_empty_queue_has_no_batch():
    queue = batcher()

    assert queue.next_batch(0.0) == []
    assert len(queue) == 0
    assert repr(queue) == "<Batcher empty>"


def test_a_newer_partial_replaces_the_queued_one_and_keeps_its_deadline():
    queue = batcher()
    queue.submit(window("a", 0, "first"), 0.0)

    assert names(queue.submit(window("a", 1, "partial"), 0.1)) == ["a0"]
    assert repr(queue) == "<Batcher a#1 partial 0.300>"
    assert names(queue.submit(window("a", 2, "partial"), 0.2)) == ["a1"]
    assert repr(queue) == "<Batcher a#2 partial 0.300>"


def test_a_final_replaces_the_partial_before_it_but_no_final_is_ever_replaced():
    queue = batcher()
    queue.submit(window("a", 0, "partial"), 0.0)

    assert names(queue.submit(window("a", 1, "final"), 0.1)) == ["a0"]
    assert names(queue.submit(window("a", 2, "final"), 0.2)) == []
    assert names(queue.submit(window("a", 3, "partial"), 0.3)) == []
    assert names(queue.submit(window("a", 4, "partial"), 0.4)) == ["a3"]
    assert repr(queue) == "<Batcher a#1 final 0.300 | a#2 final 0.400 | a#4 partial 0.900>"


def test_files_neither_replace_nor_are_replaced():
    queue = batcher()
    queue.submit(window("a", 0, "partial"), 0.0)

    assert queue.submit(window("a", 1, "file"), 0.0) == []
    assert queue.submit(window("a", 2, "file"), 0.0) == []
    assert names(queue.submit(window("a", 3, "final"), 0.0)) == ["a0"]
    assert len(queue) == 3


def test_the_earliest_deadline_goes_first_whatever_came_first():
    queue = batcher(max_batch_size=1)
    for lane, kind in [("a", "file"), ("b", "partial"), ("c", "first"), ("d", "final")]:
        queue.submit(window(lane, 0, kind), 0.0)

    assert [names(queue.next_batch(0.0)) for _ in range(5)] == [["d0"], ["c0"], ["b0"], ["a0"], []]


def test_an_old_file_goes_before_newer_partials():
    """Deadlines age: live load cannot starve a file for ever."""
    queue = batcher(max_batch_size=1)
    queue.submit(window("file", 0, "file"), 0.0)
    queue.submit(window("live", 0, "partial"), 4.9)

    assert names(queue.next_batch(4.9)) == ["file0"]


def test_a_final_goes_before_partials_however_late_those_are():
    """Whoever has stopped speaking waits for the answer; a partial that is overdue is out of date anyway."""
    queue = batcher(max_batch_size=1)
    queue.submit(window("a", 0, "partial"), 0.0)
    queue.submit(window("b", 0, "first"), 0.0)
    queue.submit(window("c", 0, "final"), 9.0)

    assert [names(queue.next_batch(9.0)) for _ in range(3)] == [["c0"], ["b0"], ["a0"]]


def test_an_urgent_window_pulls_the_older_ones_of_its_lane_before_it():
    queue = batcher(max_batch_size=1)
    queue.submit(window("a", 0, "file"), 0.0)
    queue.submit(window("b", 0, "first"), 0.0)
    queue.submit(window("a", 1, "final"), 0.0)

    assert [names(queue.next_batch(0.0)) for _ in range(3)] == [["a0"], ["a1"], ["b0"]]


def test_windows_of_one_key_share_a_batch_up_to_its_size():
    queue = batcher(max_batch_size=3)
    for lane, beam_size in [("a", 1), ("b", 5), ("c", 1), ("d", 1), ("e", 1), ("f", 5)]:
        queue.submit(window(lane, 0, beam_size=beam_size), 0.0)

    assert [names(queue.next_batch(0.0)) for _ in range(3)] == [["a0", "c0", "d0"], ["b0", "f0"], ["e0"]]


def test_a_shorter_window_joins_if_its_padding_costs_less_than_a_batch_of_its_own():
    queue = batcher()
    queue.submit(window("a", 0, "final", seconds=12), 0.0)
    queue.submit(window("b", 0, seconds=1), 0.0)
    queue.submit(window("c", 0, seconds=3), 0.0)

    assert names(queue.next_batch(0.0)) == ["a0", "c0"]
    assert names(queue.next_batch(0.0)) == ["b0"]


def test_a_longer_window_joins_if_padding_the_others_pays():
    queue = batcher()
    for lane in "abc":
        queue.submit(window(lane, 0, "final", seconds=2), 0.0)
    queue.submit(window("d", 0, seconds=8), 0.0)  # pads three by 6 s: 18 ms
    queue.submit(window("e", 0, seconds=5), 0.0)  # pads three by 3 s: 9 ms

    assert names(queue.next_batch(0.0)) == ["a0", "b0", "c0", "e0"]


def test_a_window_does_not_join_when_it_gains_nothing():
    linear = Batcher(8, lambda window: 0, lambda windows, samples: windows * samples / (64 * SECOND))
    linear.submit(window("a", 0), 0.0)
    linear.submit(window("b", 0), 0.0)

    assert names(linear.next_batch(0.0)) == ["a0"]


def test_company_does_not_make_a_punctual_window_late_but_a_late_one_is_not_kept_from_it():
    queue = batcher()
    for lane in "abcd":
        queue.submit(window(lane, 0, "final", seconds=10), 0.0)

    assert names(queue.next_batch(0.165)) == ["a0", "b0"]  # due at 0.200; three would take 40 ms

    assert names(queue.next_batch(0.195)) == ["c0", "d0"]


def test_a_batch_with_a_file_is_bounded_in_time():
    queue = batcher(max_batch_size=64)
    for number in range(40):
        queue.submit(window("file", number, "file", seconds=15), 0.0)

    batch = queue.next_batch(0.0)

    assert len(batch) == 32
    assert cost(32, 15 * SECOND) <= FILE_BATCH_S < cost(33, 15 * SECOND)


def test_it_is_bounded_more_closely_while_there_are_live_windows():
    queue = batcher(max_batch_size=64)
    for number in range(12):
        queue.submit(window("file", number, "file", seconds=15), 0.0)
    queue.submit(window("live", 0, "partial", seconds=15), 0.0)

    assert names(queue.next_batch(0.0)) == ["live0", "file0"]
    assert names(queue.next_batch(1.0)) == ["file1", "file2"]
    assert cost(2, 15 * SECOND) == pytest.approx(FILE_BATCH_BESIDE_S)
    assert len(queue.next_batch(LIVE_LATELY_S + 0.1)) == 9


def test_live_windows_that_join_an_urgent_file_are_bounded_as_well():
    queue = batcher(max_batch_size=16)
    queue.submit(window("file", 0, "file", seconds=15), 0.0)
    for lane in "abcdefgh":
        queue.submit(window(lane, 0, "partial", seconds=15), 5.0)

    assert names(queue.next_batch(5.0)) == ["file0", "a0"]


def test_a_file_that_sent_more_than_can_be_done_in_time_still_goes_after_live_windows():
    """Only when none of its windows has left for as long as they may wait does one go first."""
    queue = batcher(max_batch_size=1)
    for number in range(3):
        queue.submit(window("file", number, "file"), 0.0)
    assert names(queue.next_batch(4.0)) == ["file0"]

    for lane in "ab":
        queue.submit(window(lane, 0, "partial"), 8.0)
    assert names(queue.next_batch(8.0)) == ["a0"]  # file1 was due at 5, were it not for the window that left at 4

    assert names(queue.next_batch(8.0)) == ["b0"]
    queue.submit(window("c", 0, "partial"), 9.0)
    assert names(queue.next_batch(9.0)) == ["file1"]
    assert names(queue.next_batch(9.0)) == ["c0"]


def test_a_file_window_that_alone_takes_longer_than_that_runs_alone():
    queue = Batcher(8, lambda window: 0, lambda windows, samples: 1.0 + windows)
    queue.submit(window("file", 0, "file"), 0.0)
    queue.submit(window("file", 1, "file"), 0.0)

    assert names(queue.next_batch(0.0)) == ["file0"]


def test_windows_of_one_lane_stay_in_order_when_an_older_one_cannot_join():
    queue = batcher()
    queue.submit(window("a", 0, "final"), 0.0)
    queue.submit(window("b", 0, "final", beam_size=5), 0.0)
    queue.submit(window("b", 1, "final"), 0.0)
    queue.submit(window("c", 0, "final"), 0.0)

    assert [names(queue.next_batch(0.0)) for _ in range(3)] == [["a0", "c0"], ["b0"], ["b1"]]


def test_discarding_a_lane_forgets_its_windows_and_only_those():
    queue = batcher()
    queue.submit(window("a", 0, "final"), 0.0)
    queue.submit(window("b", 0, "final"), 0.0)
    queue.submit(window("a", 1, "partial"), 0.0)

    assert names(queue.discard("a")) == ["a0", "a1"]
    assert queue.discard("a") == []
    assert names(queue.next_batch(0.0)) == ["b0"]


def test_withdrawing_takes_back_one_window():
    queue = batcher()
    queue.submit(window("a", 0, "final"), 0.0)
    queue.submit(window("a", 1, "final"), 0.0)

    assert queue.withdraw("a", 0)
    assert not queue.withdraw("a", 0)
    assert not queue.withdraw("b", 0)
    assert names(queue.next_batch(0.0)) == ["a1"]
    assert not queue.withdraw("a", 1)


def test_the_repr_of_a_long_queue_stays_short():
    queue = batcher()
    for number in range(11):
        queue.submit(window("a", number, "final"), float(number))

    assert repr(queue).startswith("<Batcher a#0 final 0.200 | a#1 final 1.200 | ")
    assert repr(queue).endswith(" | a#7 final 7.200 | 3 more>")


class AnyUse(RuleBasedStateMachine):
    """Any sequence of uses, against the plainest model: every window's urgency, in the order of arrival."""

    lanes = st.sampled_from("abcd")
    taken = Bundle("taken")

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.queue = batcher(max_batch_size=4)
        self.model = {}  # (lane, number) -> (window, due_at), in the order of arrival
        self.numbers = dict.fromkeys("abcd", 0)
        self.last_run = dict.fromkeys("abcd", -1)
        self.file_at = float("-inf")

    def urgency(self, queued, due_at):
        """Finals first; a file's window is due when none has left for as long as it may wait."""
        if queued.kind == "file":
            due_at = max(due_at, self.file_at + queued.budget_s)
        return (queued.kind != "final", due_at)

    def leave(self, windows):
        """Each window leaves once, and only if it was queued."""
        return [self.model.pop((w.lane, w.number)) for w in windows]

    @rule(
        target=taken,
        lane=lanes,
        kind=st.sampled_from(sorted(BUDGETS)),
        seconds=st.sampled_from([1, 2, 5, 10, 30]),
        beam_size=st.sampled_from([1, 1, 5]),
    )
    def submit(self, lane, kind, seconds, beam_size):
        new = window(lane, self.numbers[lane], kind, seconds=seconds, beam_size=beam_size)
        self.numbers[lane] += 1
        partials = [w for w, _ in self.model.values() if w.lane == lane and w.kind in ("first", "partial")]

        superseded = self.queue.submit(new, self.now)

        assert superseded == ([] if kind == "file" else partials)
        due = [due_at for _, due_at in self.leave(superseded)]
        self.model[lane, new.number] = (new, min([self.now + new.budget_s, *due]))
        return new

    @rule(seconds=st.floats(0, 1))
    def wait(self, seconds):
        self.now += seconds

    @rule(window=consumes(taken))
    def withdraw(self, window):
        queued = (window.lane, window.number) in self.model

        assert self.queue.withdraw(window.lane, window.number) == queued
        if queued:
            self.leave([window])

    @rule(lane=lanes)
    def discard(self, lane):
        discarded = self.queue.discard(lane)

        assert discarded == [w for w, _ in self.model.values() if w.lane == lane]
        self.leave(discarded)

    @rule()
    def next_batch(self):
        earliest = min((self.urgency(*queued) for queued in self.model.values()), default=None)
        urgent = {w.lane for w, due_at in self.model.values() if self.urgency(w, due_at) == earliest}

        batch = self.queue.next_batch(self.now)

        assert bool(batch) == bool(self.model)
        assert len(batch) <= 4
        assert len({w.beam_size for w in batch}) <= 1
        if batch:
            assert batch[0].lane in urgent
        if len(batch) > 1 and any(w.kind == "file" for w in batch):
            assert cost(len(batch), max(w.encoder_samples for w in batch)) <= FILE_BATCH_S
        self.leave(batch)
        for w in batch:
            self.file_at = self.now if w.kind == "file" else self.file_at
            older = [n for lane, n in self.model if lane == w.lane and n < w.number]
            assert not older
            assert w.number > self.last_run[w.lane]
            self.last_run[w.lane] = w.number

    @invariant()
    def holds_what_was_submitted(self):
        assert len(self.queue) == len(self.model)
        for lane in "abcd":
            queued = [w.kind for w, _ in self.model.values() if w.lane == lane]
            assert queued.count("partial") + queued.count("first") <= 1

    def teardown(self):
        while batch := self.queue.next_batch(self.now):
            self.leave(batch)

        assert not self.model


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
