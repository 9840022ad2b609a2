"""Which recordings arguments mean, and that no results are ever in each other's way."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamasr.commands.inputs import find, is_single
from streamasr.errors import ConfigError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def planned(*arguments: str, output_dir: str | None = None) -> dict[str, str]:
    """The SRT file of each recording."""
    found = find(arguments, Path(output_dir) if output_dir else None)
    assert not found.problems
    return {recording.source: recording.output("srt").as_posix() for recording in found.recordings}


def test_results_go_beside_their_recording(here):
    make("talks/a.wav")

    assert planned("talks/a.wav") == {"talks/a.wav": "talks/a.srt"}


def test_a_directory_means_all_recordings_below_it_and_nothing_else(here):
    make("talks/b.MP4", "talks/deep/er/a.opus", "talks/notes.txt", "talks/.hidden.wav", "talks/.git/x.wav")

    assert planned("talks") == {"talks/b.MP4": "talks/b.srt", "talks/deep/er/a.opus": "talks/deep/er/a.srt"}


def test_an_output_directory_mirrors_the_tree_of_a_directory_or_pattern(here):
    make("talks/2024/a.wav", "talks/2025/a.wav")
    expected = {"talks/2024/a.wav": "out/2024/a.srt", "talks/2025/a.wav": "out/2025/a.srt"}

    assert planned("talks", output_dir="out") == expected
    assert planned("talks/**/*.wav", output_dir="out") == expected
    assert planned("talks/*/a.*", output_dir="out") == expected


def test_a_pattern_that_names_no_suffix_leaves_out_what_is_no_recording(here):
    make("a.wav", "a.srt", "b.flac", "c.xyz")

    assert set(planned("*")) == {"a.wav", "b.flac"}
    assert set(planned("*.xyz")) == {"c.xyz"}


def test_results_of_an_earlier_run_that_the_shell_brings_along_are_left_out(here):
    make("a.wav", "a.srt", "a.txt", "a.json", "a.vtt")

    assert set(planned("a.json", "a.srt", "a.txt", "a.vtt", "a.wav")) == {"a.wav"}


def test_recordings_that_differ_only_in_their_suffix_keep_it(here):
    make("a.wav", "a.mp3", "b.wav", "b.txt")

    assert planned("a.wav", "a.mp3", "b.wav") == {"a.wav": "a.wav.srt", "a.mp3": "a.mp3.srt", "b.wav": "b.srt"}


def test_a_recordings_results_have_the_same_name_whatever_else_is_asked_for(here):
    make("a.wav", "a.mp3")

    assert planned("a.wav") == {"a.wav": "a.wav.srt"}


def test_same_names_from_different_directories_get_their_directories(here):
    make("x/day/a.wav", "y/day/a.wav", "z/b.wav")

    assert planned("x/day/a.wav", "y/day/a.wav", "z/b.wav", output_dir="out") == {
        "x/day/a.wav": "out/x/day/a.srt",
        "y/day/a.wav": "out/y/day/a.srt",
        "z/b.wav": "out/b.srt",
    }


def test_a_recording_found_twice_is_transcribed_once(here):
    make("talks/a.wav")

    assert len(planned("talks/a.wav", "./talks/../talks/a.wav", "talks", "talks/*.wav")) == 1


def test_dots_in_a_name_belong_to_it(here):
    make("talk.2024.05", "v1.2.wav")

    assert planned("talk.2024.05", "v1.2.wav") == {"talk.2024.05": "talk.2024.05.srt", "v1.2.wav": "v1.2.srt"}


def test_remote_recordings_and_the_standard_input(here):
    assert planned("s3://bucket/calls/a.wav") == {"s3://bucket/calls/a.wav": "a.srt"}
    assert planned("-", output_dir="out") == {"-": "out/stdin.srt"}
    assert planned("https://h/a.mp3?id=1", "https://h/a.mp3?id=2", "https://i/a.mp3", output_dir="out") == {
        "https://h/a.mp3?id=1": "out/h/a.srt",
        "https://h/a.mp3?id=2": "out/h/a-2.srt",
        "https://i/a.mp3": "out/i/a.srt",
    }


@pytest.mark.parametrize("url", ["https://host/../../../etc/passwd", "https://host/%2e%2e/%2e%2e/x.wav"])
def test_a_url_cannot_name_a_file_outside_the_output_directory(here, url):
    (recording,) = find([url], Path("out")).recordings

    assert recording.stem.parent == Path("out")


def test_what_is_not_there_is_a_problem_and_the_rest_is_found(here):
    make("a.wav", "empty/notes.txt")
    found = find(["a.wav", "b.wav", "*.ogg", "empty"], None)

    assert [recording.source for recording in found.recordings] == ["a.wav"]
    missing, unmatched, empty = found.problems
    assert missing == "b.wav: there is no such file"
    assert unmatched.startswith("*.ogg: no audio or video file")
    assert empty.startswith("empty: there is no audio or video file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_a_problem(here):
    make("secret/a.wav")
    Path("secret").chmod(0)
    try:
        (problem,) = find(["secret"], None).problems
    finally:
        Path("secret").chmod(0o700)
    assert problem.startswith("secret: cannot be read: ")


def test_the_standard_input_stands_alone(here):
    with pytest.raises(ConfigError, match="standard input"):
        find(["-", "a.wav"], None)


def test_what_counts_as_one_recording(here):
    make("talks/a.wav", "what[1].wav")

    assert is_single(["talks/a.wav"])
    assert is_single(["what[1].wav"])
    assert is_single(["-"])
    assert is_single(["https://host/a?b=c"])
    assert not is_single(["talks"])
    assert not is_single(["*.wav"])
    assert not is_single(["a.wav", "b.wav"])


names = st.sampled_from(["a", "b", "a-2", "a.wav"])
suffixes = st.sampled_from([".wav", ".mp3", ".MP3", ""])
folders = st.sampled_from(["", "x/", "y/", "x/y/", "y/x/"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_two_recordings_share_a_result(tmp_path_factory, data):
    """Files, directories and URLs mixed, with and without an output directory."""
    place = tmp_path_factory.mktemp("tree")
    files = data.draw(st.lists(st.tuples(folders, names, suffixes).map("".join), min_size=1, max_size=8, unique=True))
    files = [file for file in files if file not in ("x", "y")]
    for file in files:
        path = place / "in" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    urls = [f"https://host/{file}" for file in files]
    arguments = data.draw(st.permutations([str(place / "in" / file) for file in files] + urls + [str(place / "in")]))
    arguments = [argument for argument in arguments if Path(argument).exists() or "://" in argument]
    found = find(arguments, place / "out" if data.draw(st.booleans()) else None)

    outputs = [recording.output("srt") for recording in found.recordings]
    assert len({str(output).casefold() for output in outputs}) == len(outputs)
    assert {recording.source for recording in found.recordings} >= set(files and urls)
