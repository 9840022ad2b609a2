"""What ``--model`` means, and how the model comes: from the cache, from a hub, or nano in its place."""

import json
import shutil
from contextlib import suppress

import pytest
from hub import LocalHub, files_of
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import HubUnreachable, ModelError
from streamasr.inference import catalog, selection
from streamasr.inference.cuda import Driver, Gpu
from streamasr.inference.hardware import Hardware, Placement
from streamasr.inference.hub import Hub
from streamasr.inference.machine import Cores
from streamasr.inference.models import resolve
from streamasr.inference.selection import choose, choose_here, download, measure_nano, parse
from streamasr.inference.sizing import predict

NANO = files_of(resolve("nano").path)
CPU = Placement(device="cpu", compute_type="int8", threads=1, reasons=())
GPU = Placement(device="cuda", device_indexes=(0, 1), compute_type="float16", threads=1, reasons=())


def machine(*gpus):
    return Hardware(cores=Cores(machine=2), cpu_types=frozenset({"int8"}), driver=Driver(gpus=gpus))


def gpu(index, free):
    return Gpu(index=index, name=f"GPU {index}", total=80_000_000_000, free=free, capability=(8, 0))


@pytest.fixture
def served():
    """Nano's files under a name of its own, and as tiny and base."""
    repos = dict.fromkeys(("me/mine", "Systran/faster-whisper-tiny", "Systran/faster-whisper-base"), NANO)
    with LocalHub(repos) as running:
        yield running


@pytest.fixture
def hub(served, tmp_path):
    return Hub(served.url, tmp_path / "cache")


@pytest.fixture
def gone(tmp_path):
    """The same cache, and no hub."""
    return Hub("http://127.0.0.1:9", tmp_path / "cache")


def chosen(model, hub, **how):
    return choose(parse(model), hardware=machine(), placement=CPU, hub=hub, **how)


# Names.


@pytest.mark.parametrize("name", [name for name in catalog.names() if name != "nano"])
def test_every_size_is_a_name_with_or_without_revision(name):
    assert parse(name).repo == catalog.by_name(name).repo
    assert parse(f"{name}@v1").revision == "v1"
    assert parse(name).revision is None


def test_a_hub_id_may_have_a_revision():
    spec = parse("me/my-model.v2@refs/pr/1")
    assert (spec.repo, spec.revision, spec.size) == ("me/my-model.v2", "refs/pr/1", None)
    assert parse("me/mine").revision is None


def test_nano_and_directories_are_read_at_once(tmp_path):
    shutil.copytree(resolve("nano").path, tmp_path / "own" / "model")
    assert parse("nano").entry.name == "nano"
    assert parse(str(tmp_path / "own" / "model")).entry.size == "nano"


def test_a_directory_wins_over_a_hub_id_of_the_same_name(tmp_path, monkeypatch):
    shutil.copytree(resolve("nano").path, tmp_path / "own" / "model")
    monkeypatch.chdir(tmp_path)
    assert parse("own/model").entry is not None
    assert parse("own/other").entry is None


def test_a_broken_directory_is_told_at_once(tmp_path):
    with pytest.raises(ModelError, match="it lacks"):
        parse(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smal", "did you mean small?"),
        ("large-v4", "did you mean large-v3?"),
        ("Tiny", "did you mean tiny?"),
        ("./here/there", "nor an existing directory"),
        ("/no/such/place", "nor an existing directory"),
        ("a/b/c", "nor an existing directory"),
        ("../up", "nor an existing directory"),
        ("xyzzy", "nor an existing directory"),
        ("~nobody/model", "nor an existing directory"),
        ("", "nor an existing directory"),
        ("x" * 5_000, "nor an existing directory"),
        ("small@", "expected a branch, tag or commit after @"),
        ("me/mine@a b", "expected a branch, tag or commit after @"),
    ],
)
def test_nonsense_is_one_sentence_and_the_near_miss_is_named(name, hint):
    with pytest.raises(ModelError) as error:
        parse(name)
    assert repr(name) in str(error.value)
    assert str(error.value).endswith(hint)


@given(text=st.text(max_size=30))
def test_any_text_is_a_model_or_a_model_error(text):
    with suppress(ModelError):
        spec = parse(text)
        assert spec.repo or spec.entry or spec.name == "auto"


def test_a_wrong_entry_file_is_told_before_any_download(tmp_path):
    (tmp_path / "entry.toml").write_text("floor = 1")
    with pytest.raises(ModelError, match="floor"):
        parse("small", entry_file=tmp_path / "entry.toml")


# Getting it.


def test_a_model_asked_for_by_name_is_fetched_once_and_needs_no_hub_after_that(served, hub, gone):
    first = chosen("me/mine@v1", hub)
    assert (first.entry.name, first.entry.size, first.reason, first.notice) == ("me/mine@v1", "nano", "", None)
    again = chosen("me/mine@v1", gone)
    assert again.entry == first.entry


def test_before_a_download_size_source_variable_and_a_smaller_model_are_told(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    told = []
    choose(
        parse("base"),
        hardware=machine(),
        placement=CPU,
        hub=hub,
        report=lambda stage, share: told.append((stage, share)),
    )
    asking, announced, *progress = told
    assert asking == (f"asking {hub.endpoint} for Systran/faster-whisper-base", None)
    first, _, kept = announced[0].partition("\n")
    assert first == "downloading base (Systran/faster-whisper-base)"
    assert "7 MB from http://127.0.0.1:" in kept
    assert "(variable HF_ENDPOINT)" in kept
    assert f"to {hub.cache} (variable HF_HUB_CACHE)" in kept
    assert kept.endswith("smaller: --model nano (built in)")
    assert {stage for stage, _ in progress} == {first}
    assert progress[-1][1] == 1.0


def test_the_entry_file_holds_for_what_is_fetched_too(hub, tmp_path):
    (tmp_path / "entry.toml").write_text("encoder_floor_s = 4")
    spec = parse("me/mine", entry_file=tmp_path / "entry.toml")
    assert choose(spec, hardware=machine(), placement=CPU, hub=hub).entry.encoder_floor_s == 4


def test_a_download_to_a_directory_is_a_model_without_a_hub(hub, gone, tmp_path):
    download(parse("me/mine"), hub, to=tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "streamasr-manifest.json").read_text())
    assert manifest["repo"] == "me/mine"
    assert chosen(str(tmp_path / "copy"), gone).entry.size == "nano"


def test_a_spoilt_file_in_a_directory_is_announced_with_what_it_takes_and_comes_again(hub, tmp_path):
    told = []
    download(parse("me/mine"), hub, to=tmp_path / "copy")
    shutil.rmtree(hub.cache, ignore_errors=True)
    spoilt = NANO["model.bin"][:-1] + b"?"
    (tmp_path / "copy" / "model.bin").write_bytes(spoilt)
    download(parse("me/mine"), hub, lambda stage, share: told.append(stage), to=tmp_path / "copy")
    (announced,) = {stage for stage in told if "\n" in stage}
    size, whole = len(spoilt) / 1e6, sum(map(len, NANO.values())) / 1e6
    assert f"me/mine: {size:.0f} MB of {whole:.0f} MB from" in announced
    assert "; model.bin: spoilt here, fetched again; " in announced
    assert (tmp_path / "copy" / "model.bin").read_bytes() == NANO["model.bin"]


def test_a_checked_download_does_not_count_as_part_of_the_next(hub):
    """The share of a stage is that of the download: checking has none, or /readyz would be at its end too soon."""
    download(parse("me/mine"), hub)
    told = []
    download(parse("me/mine"), hub, lambda stage, share: told.append((stage.partition(" ")[0], share)))
    assert {share for stage, share in told if stage == "checking"} == {None}
    assert told[-1] == ("downloading", 1.0)


def test_without_a_hub_and_without_a_terminal_there_is_an_error_that_names_the_way_out(gone):
    with pytest.raises(HubUnreachable, match=r"does not give it: .*--fallback nano"):
        chosen("small", gone)


@pytest.mark.parametrize("how", [{"terminal": True}, {"fallback": "nano"}, {"fallback": "nano", "terminal": True}])
def test_without_a_hub_nano_takes_its_place_and_says_so(gone, how):
    got = chosen("small", gone, **how)
    assert got.entry.name == "nano"
    assert got.notice.startswith("running nano (built in, and not made for real speech) instead of small, since ")
    assert "http://127.0.0.1:9" in got.notice


def test_nothing_takes_its_place_where_nothing_may(gone):
    with pytest.raises(HubUnreachable):
        chosen("small", gone, fallback="none", terminal=True)


def test_a_repository_that_is_not_there_is_no_reason_for_another_model(hub):
    with pytest.raises(ModelError, match="there is no me/other"):
        chosen("me/other", hub, fallback="nano", terminal=True)


# auto.


def test_auto_on_a_gpu_is_decided_by_the_roomiest_one():
    found = machine(gpu(0, 1_000_000_000), gpu(1, 6_000_000_000), gpu(2, 70_000_000_000))
    choice = choose_here(found, GPU)
    assert choice.size.name == "large-v3-turbo"
    assert "GPU 1" in choice.reason


def test_auto_on_a_cpu_is_decided_by_nanos_time(hub, monkeypatch):
    monkeypatch.setattr(selection, "measure_nano", lambda placement: 0.5)
    got = chosen("auto", hub)
    assert got.entry.name == "tiny"
    assert got.reason.startswith("the smallest")


@pytest.mark.parametrize("how", [{}, {"terminal": True}, {"fallback": "nano"}, {"fallback": "none"}])
def test_auto_without_a_hub_takes_the_best_model_that_is_here_before_nano_or_nothing(hub, gone, monkeypatch, how):
    for name in ("tiny", "base"):
        chosen(name, hub)
    monkeypatch.setattr(selection, "measure_nano", lambda placement: 0.0001)
    got = chosen("auto", gone, **how)
    assert (got.entry.name, got.reason) == ("base", "")
    assert got.entry.path == gone.cached("Systran/faster-whisper-base")
    assert got.notice.startswith("running base (in the cache) instead of large-v3, since ")


def test_auto_starts_again_without_a_hub_whatever_nano_took_this_time(hub, gone, monkeypatch):
    """The finding: just over the limit at the first start, clearly under it at the next, and the reverse."""
    at_limit = 0.5 / predict(catalog.BY_NAME["base"], 1.0)
    for first, name, then in ((1.01, "tiny", 0.7), (0.99, "base", 1.15)):
        monkeypatch.setattr(selection, "measure_nano", lambda placement, share=first: share * at_limit)
        shutil.rmtree(hub.cache, ignore_errors=True)
        assert chosen("auto", hub).entry.name == name
        monkeypatch.setattr(selection, "measure_nano", lambda placement, share=then: share * at_limit)
        assert chosen("auto", gone).entry.name == name


def test_auto_does_not_run_what_this_machine_cannot_though_it_is_here(hub, gone, monkeypatch):
    chosen("base", hub)
    monkeypatch.setattr(selection, "measure_nano", lambda placement: 0.8 / predict(catalog.BY_NAME["base"], 1.0))
    with pytest.raises(HubUnreachable):
        chosen("auto", gone)
    assert chosen("auto", gone, terminal=True).entry.name == "nano"


def test_auto_without_a_hub_or_any_model_takes_nano(gone, monkeypatch):
    monkeypatch.setattr(selection, "measure_nano", lambda placement: 0.0001)
    assert chosen("auto", gone, terminal=True).entry.name == "nano"


def test_nano_is_really_timed():
    assert 0.001 < measure_nano(CPU) < 2
