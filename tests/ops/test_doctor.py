"""What the doctor finds on machines in good and bad health."""

import socket
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hub import LocalHub

from streamasr.errors import ModelError
from streamasr.inference import hardware, media, selection
from streamasr.inference.cuda import Driver, Gpu, Library
from streamasr.inference.hardware import Hardware
from streamasr.inference.hub import Hub
from streamasr.inference.machine import Cores, Memory
from streamasr.inference.models import resolve
from streamasr.ops import checks, doctor
from streamasr.ops.config import Settings

GB = 1_000_000_000
REPO = "Systran/faster-whisper-tiny"
A_GPU = Gpu(index=0, name="A100", total=40 * GB, free=30 * GB, capability=(8, 0), types=frozenset({"float16"}))
CUBLAS = Library(name="libcublas.so.12", needed=True)
CUDNN = Library(name="libcudnn.so.9", needed=False, problem="libcudnn.so.9 was not found: install it")


def machine(*gpus, problem="", version=None, libraries=()):
    return Hardware(
        cores=Cores(machine=4),
        cpu_types=frozenset({"int8", "float32"}),
        driver=Driver(gpus=gpus, problem=problem, version=version, cuda=(12, 4) if version else None),
        libraries=libraries,
    )


def found(here, asked="auto"):
    return {finding.check: finding for finding in doctor.devices(here, asked)}


def test_a_machine_without_a_gpu_is_well_unless_one_was_asked_for():
    here = machine(problem="there is no NVIDIA driver: get one")
    assert found(here)["GPU"].status == "ok"
    assert found(here, "cpu")["GPU"].status == "ok"
    failed = found(here, "cuda")["GPU"]
    assert (failed.status, failed.found, failed.advice) == ("failed", "there is no NVIDIA driver", "get one")


def test_a_driver_that_cannot_be_used_is_a_warning():
    here = machine(problem="the driver is too old: update it", version="470.1")
    assert found(here)["GPU"].status == "warning"
    assert found(here)["NVIDIA driver"].found == "470.1, for CUDA up to 12.4"
    assert found(here, "cpu")["GPU"].status == "ok"


def test_gpus_and_libraries_are_shown():
    there = msgspec.structs.replace(CUBLAS, path=Path("/lib/libcublas.so.12"), version="12.4.5")
    findings = found(machine(A_GPU, version="550.54", libraries=(there, CUDNN)))
    assert findings["GPU 0"].found == "A100, 40.0 GB, 30.0 GB free, compute capability 8.0; computes in float16"
    assert findings["libcublas.so.12"].found == "12.4.5 in /lib/libcublas.so.12"
    assert findings["libcudnn.so.9"].found == "not there; CTranslate2 does without it"
    assert {finding.status for finding in findings.values()} == {"ok"}


@pytest.mark.parametrize(("asked", "status"), [("cuda", "failed"), ("auto", "warning")])
def test_a_missing_library_is_named_with_what_to_do(asked, status):
    missing = msgspec.structs.replace(CUBLAS, problem="libcublas.so.12 was not found: pip install it")
    finding = found(machine(A_GPU, libraries=(missing,)), asked)["libcublas.so.12"]
    assert (finding.status, finding.advice) == (status, "pip install it")


def test_a_window_of_the_model_really_runs():
    placement = hardware.pick(machine(problem="no GPU"), threads=1)
    finding = doctor.one_window(resolve("nano"), placement)
    assert finding.status == "ok"
    assert finding.found.endswith("ms for a window of 5 s")


def test_a_device_that_cannot_run_the_model_is_a_failure_with_what_to_do():
    if hardware.survey().driver.gpus:
        pytest.skip("this machine has a GPU")
    placement = hardware.pick(machine(A_GPU, libraries=(CUBLAS,)), device="cuda")
    finding = doctor.one_window(resolve("nano"), placement)
    assert finding.status == "failed"
    assert finding.advice


def test_the_checks_that_need_nothing_pass_here():
    for check in (checks.python, checks.openmp, checks.voice_activity, checks.audio_files, checks.resampler):
        finding = check()
        assert finding.status == "ok", finding
        assert not finding.advice


def test_waiting_actively_is_a_warning(monkeypatch):
    if "none" in checks.openmp().found:
        pytest.skip("CTranslate2 has no OpenMP here")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    finding = checks.openmp()
    assert finding.status == "warning"
    assert "OMP_WAIT_POLICY=active" in finding.found


def test_what_is_broken_says_so(monkeypatch):
    def refuse(*_):
        raise ModelError("the voice-activity model is missing")

    def nothing(_):
        return iter(())

    monkeypatch.setattr(checks, "VadModel", refuse)
    monkeypatch.setattr(media, "decode", nothing)
    assert checks.voice_activity().status == "failed"
    assert checks.audio_files().status == "failed"
    assert checks.audio_files().advice


def test_little_room_is_a_warning(monkeypatch, tmp_path):
    nowhere = tmp_path / "not" / "yet"
    assert str(nowhere) in checks.disk("cache", nowhere).found
    monkeypatch.setattr(checks, "LOW_DISK", 1 << 80)
    assert checks.disk("cache", nowhere).status == "warning"


def test_memory_is_shown_as_far_as_it_is_known():
    assert checks.main_memory(Memory(total=8 * GB, available=2 * GB)).found == "8.0 GB, 2.0 GB available"
    assert checks.main_memory(Memory(total=8 * GB, available=None)).found == "8.0 GB"
    assert checks.main_memory(Memory(total=None, available=None)).found == "the system does not say"


@contextmanager
def answering(body: bytes):
    """A web server on a free port that answers everything with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_free_port_is_well():
    assert checks.port("127.0.0.1", 0).status == "ok"


@pytest.mark.parametrize(
    ("body", "status", "who"),
    [(b'{"status":"ok"}', "warning", "a streamasr server"), (b"hello", "failed", "another program")],
)
def test_who_has_the_port_is_told(body, status, who):
    with answering(body) as number:
        finding = checks.port("127.0.0.1", number)
    assert finding.status == status
    assert finding.found.startswith(who)
    assert "--port" in finding.advice


def test_a_port_whose_owner_says_nothing_is_another_programs(monkeypatch):
    monkeypatch.setattr(checks, "ANSWER_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = checks.port("127.0.0.1", silent.getsockname()[1])
    assert finding.found.startswith("another program")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_a_failure(host):
    finding = checks.port(host, 0)
    assert finding.status == "failed"
    assert host in finding.found


@pytest.fixture(scope="module")
def served():
    """A hub that has nano's files under the name of tiny."""
    folder = Path(str(files("streamasr") / "models" / "nano"))
    with LocalHub({REPO: {path.name: path.read_bytes() for path in folder.iterdir()}}) as hub:
        yield hub


def test_the_hub_answers_with_the_size_of_what_is_wanted(served, tmp_path):
    finding = doctor.hub_answers(Hub(served.url, tmp_path), selection.parse("tiny"), needed=True)
    assert finding.status == "ok"
    assert finding.found.startswith(f"{served.url} answers: {REPO} is 7 MB")


@pytest.mark.parametrize(("needed", "status"), [(True, "failed"), (False, "warning")])
def test_a_hub_that_is_not_there_matters_where_its_model_is_needed(tmp_path, needed, status):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    finding = doctor.hub_answers(Hub(url, tmp_path), selection.parse("tiny"), needed=needed)
    assert finding.status == status
    assert url in finding.found
    assert "HF_ENDPOINT" in finding.advice


def test_a_model_that_the_hub_does_not_have_is_named(served, tmp_path):
    finding = doctor.hub_answers(Hub(served.url, tmp_path), selection.parse("nobody/nothing"), needed=True)
    assert finding.status == "failed"
    assert "nobody/nothing" in finding.found


def test_a_model_says_whether_it_is_here(served, tmp_path):
    hub, here = Hub(served.url, tmp_path), machine(problem="no GPU")
    spec, placement = selection.parse("tiny"), hardware.pick(here, threads=1)
    before = list(doctor.models(spec, here, placement, hub, needed=True))
    assert [finding.check for finding in before] == [REPO, "hub"]
    assert "downloads it" in before[0].found
    hub.fetch(hub.manifest(REPO), lambda _: None)
    assert str(tmp_path) in next(doctor.models(spec, here, placement, hub, needed=True)).found


@pytest.fixture
def gone(served, tmp_path):
    """A cache with tiny, and no hub."""
    before = Hub(served.url, tmp_path)
    before.fetch(before.manifest(REPO), lambda _: None)
    return Hub("http://127.0.0.1:9", tmp_path)


def test_a_silent_hub_does_not_make_less_of_a_model_that_is_here(gone):
    here = machine(problem="no GPU")
    first, hub = doctor.models(selection.parse("tiny"), here, hardware.pick(here, threads=1), gone, needed=True)
    assert first.found == f"in {gone.cached(REPO)}"
    assert hub.status == "warning"
    assert "not all in the cache" not in hub.found
    assert "to get another model than this one" in hub.advice
    assert "nano" not in hub.advice


def test_a_model_that_needs_no_hub_is_not_asked_for_there(gone):
    here = machine(problem="no GPU")
    (hub,) = doctor.models(selection.parse("nano"), here, hardware.pick(here, threads=1), gone, needed=True)
    assert (hub.status, hub.advice, hub.found) == ("ok", "", "not asked: nano is on this machine")


def test_a_silent_hub_fails_auto_only_if_nothing_here_could_stand_in(gone, tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "measure_nano", lambda placement: 0.0001)
    here, auto = machine(problem="no GPU"), selection.parse("auto")
    chosen, model, hub = doctor.models(auto, here, hardware.pick(here, threads=1), gone, needed=True)
    assert chosen.found.startswith("large-v3: one stream is predicted")
    assert model.found.endswith("without the hub, tiny in the cache runs instead")
    assert hub.status == "warning"
    empty = Hub(gone.endpoint, tmp_path / "empty")
    assert [*doctor.models(auto, here, hardware.pick(here, threads=1), empty, needed=True)][-1].status == "failed"


def test_everything_is_examined_in_order(served, tmp_path):
    settings = Settings(model="nano", device="cpu", port=0)
    findings = list(doctor.examine(settings, Hub(served.url, tmp_path)))
    names = [finding.check for finding in findings]
    assert len(names) == len(set(names))
    assert names[0] == "Python"
    assert {"CPU", "device chosen", "threads chosen", "nano on cpu", "hub", "voice activity", "audio files"} <= {*names}
    assert names[-1] == "port 0"
    assert str(tempfile.gettempdir()) in findings[-2].found
    assert not [finding for finding in findings if finding.status == "failed"]


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (Settings(model="smal", port=0), "model"),
        (Settings(model="nano", compute_type="bfloat16", device="cpu", port=0), "compute_type"),
    ],
)
def test_settings_that_cannot_be_are_a_failure_and_the_rest_is_examined(served, tmp_path, settings, check):
    findings = {f.check: f for f in doctor.examine(settings, Hub(served.url, tmp_path))}
    assert findings[check].status == "failed"
    assert findings["port 0"].status == "ok"
