"""The hub path, on the real huggingface_hub and a real socket: a local hub serves nano's files, whole and broken."""

import socket
import time
from itertools import pairwise

import pytest
from hub import COMMIT, LocalHub, etag, files_of

from streamasr.errors import HubUnreachable, ModelError, Unavailable
from streamasr.inference.hub import CHUNK, Hub
from streamasr.inference.manifest import MANIFEST, verify
from streamasr.inference.models import resolve

NANO = files_of(resolve("nano").path)
BIG = NANO | {"model.bin": NANO["model.bin"] * 4}
"""Not a model, but larger than what the library reads at a time."""
REPO = "someone/faster-whisper-nano"


@pytest.fixture
def served():
    """A hub with nano, something bigger, and two repositories that are no such model."""
    repos = {
        REPO: NANO | {"README.md": b"# Nano", "model.safetensors": b"x"},
        "someone/big": BIG,
        "someone/old": {name: data for name, data in NANO.items() if name != "tokenizer.json"},
        "someone/mute": {name: data for name, data in NANO.items() if name != "vocabulary.json"},
        "someone/other": {"model.safetensors": b"x", "config.json": b"{}"},
    }
    with LocalHub(repos) as running:
        yield running


@pytest.fixture
def hub(served, tmp_path):
    return Hub(served.url, tmp_path / "cache")


def quiet(here):
    """Nobody watches."""


def test_a_download_brings_the_files_that_are_needed_and_no_others(served, hub):
    manifest = hub.manifest(REPO)
    assert manifest.commit == COMMIT
    assert {file.name for file in manifest.files} == set(NANO)
    assert manifest.size == hub.missing(manifest) == sum(map(len, NANO.values()))

    path = hub.fetch(manifest, quiet)

    assert files_of(path) == NANO
    assert hub.missing(manifest) == 0
    assert served.served == {name: len(data) for name, data in NANO.items()}
    assert resolve(str(path)).size == "nano"


def test_the_cache_is_the_librarys_own_so_that_others_find_the_model(served, hub):
    from huggingface_hub import snapshot_download

    path = hub.fetch(hub.manifest(REPO), quiet)

    assert snapshot_download(REPO, cache_dir=hub.cache, local_files_only=True) == str(path)
    assert (hub.cache / "models--someone--faster-whisper-nano" / "blobs" / etag(NANO["model.bin"])).is_file()


def test_what_is_cached_needs_no_hub(served, hub):
    assert hub.cached(REPO) is None
    path = hub.fetch(hub.manifest(REPO), quiet)
    before = len(served.requests)
    assert hub.cached(REPO) == path
    assert hub.cached(REPO, COMMIT) == path
    assert hub.cached(REPO, "v1") is None
    assert len(served.requests) == before


def test_a_revision_is_a_branch_a_tag_or_a_commit(served, hub):
    for revision in ("v1", COMMIT):
        path = hub.fetch(hub.manifest(REPO, revision), quiet)
        assert hub.cached(REPO, revision) == path


def test_progress_is_told_in_bytes_and_ends_with_all_of_them(served, hub):
    manifest = hub.manifest("someone/big")
    told = []
    hub.fetch_to(manifest, hub.cache / "big", told.append)
    assert told == sorted(told)
    assert told[-1] == manifest.size
    steps = [after - before for before, after in pairwise([0, *told])]
    assert max(steps) <= CHUNK  # the library's chunks are larger than nano


def test_a_download_from_a_hub_that_has_fallen_silent_can_be_ended_at_once(served, hub):
    """The library waits ten seconds for the next bytes, then tries again, five times."""
    manifest = hub.manifest("someone/big")
    served.silent_after = 1_000_000
    told, ended = [], time.monotonic()

    def stop(here):
        nonlocal ended
        if here > 900_000 and told[-1] == here:  # in the large file, and nothing came since
            ended = time.monotonic()
            raise Unavailable("enough")
        told.append(here)

    with pytest.raises(Unavailable):
        hub.fetch_to(manifest, hub.cache / "big", stop)
    assert time.monotonic() - ended < 1


def test_a_download_that_was_stopped_goes_on_where_it_was(served, hub):
    manifest = hub.manifest("someone/big")

    def stop(here):
        if here > 10_000_000:
            raise Unavailable("enough")

    with pytest.raises(Unavailable):
        hub.fetch(manifest, stop)
    assert hub.cached("someone/big") is None
    left = hub.missing(manifest)
    assert 0 < left < manifest.size - 10_000_000

    served.served.clear()
    assert files_of(hub.fetch(manifest, quiet)) == BIG
    assert served.served["model.bin"] < len(BIG["model.bin"]) - 10_000_000


def test_a_hub_that_ignores_ranges_sends_it_all_again_and_nothing_is_doubled(served, hub):
    manifest = hub.manifest(REPO)
    blob = hub.cache / "models--someone--faster-whisper-nano" / "blobs" / (etag(NANO["model.bin"]) + ".incomplete")
    blob.parent.mkdir(parents=True)
    blob.write_bytes(NANO["model.bin"][:1_000_000])
    served.ignores_ranges = True
    assert files_of(hub.fetch(manifest, quiet)) == NANO


def test_a_connection_that_breaks_is_taken_up_again(served, hub):
    manifest = hub.manifest("someone/big")
    served.cut_after = 12_000_000
    hub.fetch_to(manifest, hub.cache / "big", quiet)
    assert files_of(hub.cache / "big").items() >= BIG.items()
    assert served.served["model.bin"] < len(BIG["model.bin"]) + 12_000_000


@pytest.mark.slow
def test_a_hub_that_is_gone_in_the_middle_is_told_and_what_came_is_kept(served, hub):
    """The library tries five more times, a second apart."""
    manifest = hub.manifest("someone/big")

    def cut(here):
        served.dead = here > 10_000_000

    served.cut_after = 12_000_000
    with pytest.raises(HubUnreachable, match="does not give it"):
        hub.fetch(manifest, cut)
    assert hub.missing(manifest) < manifest.size - 10_000_000


def test_a_file_with_another_checksum_is_deleted_and_told(served, hub):
    manifest = hub.manifest(REPO)
    served.spoilt = True
    with pytest.raises(ModelError, match=r"model\.bin of .* another checksum"):
        hub.fetch(manifest, quiet)
    assert hub.cached(REPO) is None
    served.spoilt = False
    assert files_of(hub.fetch(manifest, quiet)) == NANO


def test_a_directory_gets_its_manifest_and_is_a_model(served, hub, tmp_path):
    to = tmp_path / "mine"
    hub.fetch_to(hub.manifest(REPO), to, quiet)
    assert verify(to) == ()
    assert {path.name for path in to.iterdir()} == {*NANO, MANIFEST}
    assert resolve(str(to)).size == "nano"


def test_what_is_right_in_a_directory_stays_and_what_is_not_is_fetched_again(served, hub, tmp_path):
    to = tmp_path / "mine"
    manifest = hub.manifest(REPO)
    hub.fetch_to(manifest, to, quiet)
    (to / "tokenizer.json").write_text("spoilt")
    served.served.clear()
    assert hub.check(manifest, quiet, to) == ("tokenizer.json",)
    assert hub.missing(manifest, to) == len(NANO["tokenizer.json"])
    hub.fetch_to(manifest, to, quiet)
    assert served.served == {"tokenizer.json": len(NANO["tokenizer.json"])}
    assert verify(to) == ()


@pytest.mark.parametrize("links", [True, False])
def test_what_is_spoilt_in_the_cache_is_found_deleted_and_fetched_again(served, hub, monkeypatch, links):
    if not links:
        monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda cache_dir=None: False)
    manifest = hub.manifest(REPO)
    path = hub.fetch(manifest, quiet)
    assert hub.check(manifest, quiet) == ()
    (path / "model.bin").write_bytes(NANO["model.bin"][:-1] + b"?")
    served.served.clear()

    assert hub.check(manifest, quiet) == ("model.bin",)
    assert hub.cached(REPO) is None
    assert hub.missing(manifest) == len(NANO["model.bin"])
    assert files_of(hub.fetch(manifest, quiet)) == NANO
    assert served.served == {"model.bin": len(NANO["model.bin"])}


def test_what_is_spoilt_in_the_cache_is_not_copied_to_a_directory(hub, tmp_path):
    manifest = hub.manifest(REPO)
    (hub.fetch(manifest, quiet) / "config.json").write_bytes(b"{}")
    assert hub.check(manifest, quiet, tmp_path / "mine") == ("config.json",)
    hub.fetch_to(manifest, tmp_path / "mine", quiet)
    assert verify(tmp_path / "mine") == ()


def test_a_check_can_be_ended(hub):
    manifest = hub.manifest(REPO)
    hub.fetch(manifest, quiet)

    def stop(here):
        raise Unavailable("enough")

    with pytest.raises(Unavailable):
        hub.check(manifest, stop)
    assert hub.cached(REPO)


def test_a_snapshot_without_its_vocabulary_is_not_the_model(hub):
    path = hub.fetch(hub.manifest(REPO), quiet)
    (path / "vocabulary.json").unlink()
    assert hub.cached(REPO) is None
    assert files_of(hub.fetch(hub.manifest(REPO), quiet)) == NANO
    assert hub.cached(REPO) == path


def test_what_is_in_the_cache_is_copied_from_there(served, hub, tmp_path):
    manifest = hub.manifest(REPO)
    hub.fetch(manifest, quiet)
    served.served.clear()
    assert hub.missing(manifest, tmp_path / "mine") == 0
    hub.fetch_to(manifest, tmp_path / "mine", quiet)
    assert not served.served
    assert verify(tmp_path / "mine") == ()


@pytest.mark.parametrize(
    ("repo", "revision", "part"),
    [
        ("no/such", None, "there is no no/such on http"),
        (REPO, "v9", "has no revision 'v9'"),
        ("someone/old", None, "has no tokenizer.json (an old conversion)"),
        ("someone/other", None, "in CTranslate2 format: it lacks model.bin, tokenizer.json, vocabulary.json"),
        ("someone/mute", None, "not a Whisper model in CTranslate2 format: it lacks vocabulary.json"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_sentence(served, hub, repo, revision, part):
    with pytest.raises(ModelError) as error:
        hub.manifest(repo, revision)
    assert not isinstance(error.value, HubUnreachable)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_terms_that_were_not_accepted_are_told(served, hub):
    served.gated.add(REPO)
    with pytest.raises(ModelError, match=f"accepted its terms at {served.url}/{REPO}; then set HF_TOKEN"):
        hub.manifest(REPO)


def test_a_refusal_is_not_silence(served, hub):
    served.status = 403
    with pytest.raises(ModelError, match=r"refuses .* \(403\); HF_TOKEN") as error:
        hub.manifest(REPO)
    assert not isinstance(error.value, HubUnreachable)


@pytest.mark.parametrize(("status", "why"), [(503, "it answered 503"), (200, "its answer is not a hub's")])
def test_a_server_that_is_no_hub_is_unreachable(served, hub, status, why):
    served.status = status
    with pytest.raises(HubUnreachable, match=why):
        hub.manifest(REPO)


def test_a_hub_that_is_gone_is_not_said_to_lack_what_is_here(served, hub):
    hub.fetch(hub.manifest(REPO), quiet)
    gone = Hub("http://127.0.0.1:9", hub.cache)
    with pytest.raises(HubUnreachable, match=r"^model: http://127\.0\.0\.1:9 \(variable HF_ENDPOINT\) does not give"):
        gone.manifest(REPO)
    with pytest.raises(HubUnreachable, match="is not all in the cache"):
        gone.manifest("someone/big")


def test_a_closed_port_is_told_at_once_with_the_variable_that_names_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    before = time.monotonic()
    with pytest.raises(HubUnreachable, match=rf"http://127\.0\.0\.1:{port} \(variable HF_ENDPOINT\)"):
        Hub(f"http://127.0.0.1:{port}", tmp_path).manifest(REPO)
    assert time.monotonic() - before < 5


def test_a_hub_that_says_nothing_is_waited_for_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr("streamasr.inference.hub.PATIENCE_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(HubUnreachable, match=r"no answer in 0\.2 s"),
    ):
        Hub(f"http://127.0.0.1:{mute.getsockname()[1]}", tmp_path).manifest(REPO)


def test_a_full_disk_is_told_before_the_download(served, hub, monkeypatch):
    import shutil

    manifest = hub.manifest(REPO)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match="MB free"):
        hub.fetch(manifest, quiet)


def test_a_system_without_links_gets_one_copy_and_knows_it(served, hub, tmp_path, monkeypatch):
    """As Windows has none unless its user is a developer."""
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda cache_dir=None: False)
    manifest = hub.manifest(REPO)
    path = hub.fetch(manifest, quiet)

    assert files_of(path) == NANO
    assert not (path / "model.bin").is_symlink()
    assert [*(hub.cache / "models--someone--faster-whisper-nano" / "blobs").iterdir()] == []
    served.served.clear()
    assert hub.missing(manifest) == 0
    assert hub.fetch(manifest, quiet) == path
    hub.fetch_to(manifest, tmp_path / "copy", quiet)
    assert not served.served


def test_names_that_lead_elsewhere_are_not_fetched(served, hub):
    served.repos[REPO]["vocabulary.txt/../../../evil"] = b"x"
    assert {file.name for file in hub.manifest(REPO).files} == set(NANO)


def test_a_cache_that_cannot_be_written_is_told(served, hub):
    hub.cache.write_text("a file")
    with pytest.raises(ModelError, match="cannot be written"):
        hub.fetch(hub.manifest(REPO), quiet)


def test_a_place_that_cannot_be_written_is_told(served, hub, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        hub.fetch_to(hub.manifest(REPO), tmp_path / "file", quiet)
