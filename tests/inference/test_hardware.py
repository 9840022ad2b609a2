"""What a model runs on: the choice and its reasons, and what an engine's errors mean."""

import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ConfigError
from streamasr.inference import hardware
from streamasr.inference.cuda import Driver, Gpu, Library
from streamasr.inference.hardware import Hardware, explain, pick
from streamasr.inference.machine import Cores

GB = 1_000_000_000
CPU_TYPES = frozenset({"float32", "int16", "int8", "int8_float32"})
MODERN = frozenset({"float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"})
NEEDS = {"float16": 5 * GB, "int8_float16": 3 * GB, "float32": 9 * GB, "int8": 4 * GB, "int8_float32": 4 * GB}
MISSING = Library(name="libcublas.so.12", needed=True, problem="libcublas.so.12 was not found: install it")


def gpu(index=0, free=20, types=MODERN, capability=(8, 9)):
    return Gpu(index=index, name=f"GPU {index}", total=24 * GB, free=free * GB, capability=capability, types=types)


def machine(*gpus, cores=8, problem="", libraries=()):
    driver = Driver(gpus=gpus, problem=problem or ("" if gpus else "there is no NVIDIA driver"))
    return Hardware(cores=Cores(machine=cores), cpu_types=CPU_TYPES, driver=driver, libraries=libraries)


def test_a_gpu_with_room_computes_in_float16():
    chosen = pick(machine(gpu()), needs=NEEDS)
    assert (chosen.device, chosen.device_indexes, chosen.compute_type) == ("cuda", (0,), "float16")
    assert (chosen.threads, chosen.replicas) == (1, 1)


@pytest.mark.parametrize(
    ("free", "types", "kind"),
    [
        (6, MODERN, "float16"),
        (4, MODERN, "int8_float16"),
        (20, frozenset({"float32", "int8", "int8_float32"}), "float32"),
        (5, frozenset({"float32", "int8", "int8_float32"}), "int8_float32"),
        (20, frozenset({"float32"}), "float32"),
    ],
)
def test_the_compute_type_is_the_best_that_the_gpu_has_and_holds(free, types, kind):
    assert pick(machine(gpu(free=free, types=types)), needs=NEEDS).compute_type == kind


def test_every_gpu_with_room_is_used():
    chosen = pick(machine(gpu(0), gpu(1, free=4), gpu(2)), needs=NEEDS)
    assert (chosen.compute_type, chosen.device_indexes) == ("float16", (0, 2))


def test_a_model_of_unknown_size_is_taken_to_fit():
    assert pick(machine(gpu(free=1))).compute_type == "float16"


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (machine(), "there is no NVIDIA driver"),
        (machine(gpu(), problem="the driver is too old"), "the driver is too old"),
        (machine(gpu(), libraries=(MISSING,)), "libcublas.so.12 was not found: install it"),
        (machine(gpu(free=2)), "the model takes 3.0 GB and the GPU has 2.0 GB free: take a smaller --model"),
    ],
)
def test_a_gpu_that_cannot_be_used_means_the_cpu_only_with_auto_and_is_said(here, why):
    chosen = pick(here, needs=NEEDS)
    assert chosen.device == "cpu"
    assert chosen.reasons[0] == f"the CPU, since {why}"
    with pytest.raises(ConfigError) as refused:
        pick(here, device="cuda", needs=NEEDS)
    assert str(refused.value) == f"device: cuda cannot be used: {why}"


def test_an_optional_library_may_be_missing():
    cudnn = msgspec.structs.replace(MISSING, name="libcudnn.so.9", needed=False)
    assert pick(machine(gpu(), libraries=(cudnn,))).device == "cuda"


def test_the_cpu_is_taken_where_it_was_asked_for():
    chosen = pick(machine(gpu()), device="cpu")
    assert (chosen.device, chosen.compute_type) == ("cpu", "int8")
    assert chosen.reasons[0] == "the CPU, as asked"


@pytest.mark.parametrize(("device", "here"), [("cpu", machine()), ("auto", machine()), ("cuda", machine(gpu()))])
def test_a_compute_type_that_the_device_lacks_is_refused_with_those_it_has(device, here):
    with pytest.raises(
        ConfigError, match=r"^compute_type: expected auto or what this .PU has \(.*int8.*\), got 'int3'"
    ):
        pick(here, device=device, compute_type="int3")


def test_a_compute_type_asked_for_is_taken():
    assert pick(machine(gpu()), compute_type="float32").compute_type == "float32"
    assert pick(machine(), compute_type="float32").compute_type == "float32"


@pytest.mark.parametrize(
    ("cores", "purpose", "wanted"),
    [
        (1, "live", (1, 1)),
        (2, "live", (1, 1)),
        (4, "live", (3, 1)),
        (64, "live", (4, 1)),
        (1, "files", (1, 1)),
        (2, "files", (1, 2)),
        (8, "files", (1, 8)),
        (64, "files", (8, 8)),
    ],
)
def test_threads_leave_a_core_for_live_work_and_take_all_for_files(cores, purpose, wanted):
    chosen = pick(machine(cores=cores), purpose=purpose)
    assert (chosen.threads, chosen.replicas) == wanted


def test_a_small_model_has_one_thread_for_live_work():
    chosen = pick(machine(), parameters=5_000_000)
    assert chosen.threads == 1
    assert "small" in chosen.reasons[2]


@given(
    cores=st.integers(1, 256),
    threads=st.none() | st.integers(1, 32),
    purpose=st.sampled_from(["live", "files"]),
    quota=st.none() | st.floats(0.1, 64),
)
def test_threads_never_exceed_the_cores_unless_asked(cores, threads, purpose, quota):
    here = msgspec.structs.replace(machine(), cores=Cores(machine=cores, quota=quota))
    chosen = pick(here, threads=threads, purpose=purpose)
    if threads is not None:
        assert chosen.threads == threads
    assert chosen.threads * chosen.replicas <= max(here.cores.usable, threads or 1)
    assert len(chosen.reasons) == 3
    assert str(here.cores) in chosen.reasons[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Library libcublas.so.12 is not found or cannot be loaded", "pip install 'streamasr[cuda]'"),
        ("Could not load library libcublasLt.so.12. Error: cannot open shared object file", "streamasr[cuda]"),
        ("Library cublas64_12.dll is not found or cannot be loaded", "streamasr[cuda]"),
        ("Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9}\nInvalid handle.", "streamasr[cuda]"),
        ("CUDA failed with error CUDA driver version is insufficient for CUDA runtime version", "driver of at least"),
        ("CUDA failed with error no CUDA-capable device is detected", "--gpus all"),
        ("CUDA failed with error out of memory", "smaller --model"),
        ("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED", "smaller --model"),
        ("cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED", "--compute-type float16"),
        ("CUDA failed with error no kernel image is available for execution on the device", "upgrade ctranslate2"),
        ("CUDA failed with error invalid device ordinal", "nvidia-smi lists them"),
        ("This CTranslate2 package was not compiled with CUDA support", "--device cpu"),
        ("CUDA failed with error unspecified launch failure", "streamasr doctor"),
        ("std::bad_alloc", "smaller --model"),
    ],
)
def test_an_error_of_the_engine_becomes_one_sentence_with_what_to_do(text, says):
    explained = explain(RuntimeError(text))
    assert explained.startswith(text.splitlines()[0].rstrip("."))
    assert says in explained
    assert "\n" not in explained


def test_what_ctranslate2_really_says_is_understood():
    """Not quoted from memory: raised by the CTranslate2 that is installed."""
    hardware.prepare()
    import ctranslate2

    from streamasr.inference.models import resolve

    with pytest.raises(ValueError, match="compute type") as refused:
        ctranslate2.models.Whisper(str(resolve("nano").path), device="cpu", compute_type="float16")
    assert explain(refused.value).endswith("--compute-type auto takes the best that it has")
    if ctranslate2.get_cuda_device_count() == 0:
        with pytest.raises((RuntimeError, ValueError)) as missing:
            ctranslate2.models.Whisper(str(resolve("nano").path), device="cuda")
        assert "--device cpu" in explain(missing.value)


def test_an_error_that_nobody_knows_is_passed_on():
    assert explain(RuntimeError("the moon is full.")) == "the moon is full"
    assert explain(RuntimeError()) == "RuntimeError"


def test_this_machine_can_be_surveyed():
    """Whatever it has; and a model can be placed on it."""
    here = hardware.survey()
    assert here.cpu_types >= {"float32"}
    assert pick(here, device="cpu").compute_type in here.cpu_types
    assert bool(here.gpu_problem) == (pick(here).device == "cpu")


def run(code: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in hardware.OPENMP} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


PREPARED = """
import os, sys
from streamasr.inference import hardware
assert "ctranslate2" not in sys.modules
assert hardware.prepare() is hardware.prepare()
print(os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"])
"""


def test_openmp_waits_passively_unless_the_environment_says_otherwise():
    assert run(PREPARED) == "PASSIVE 0"
    assert run(PREPARED, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE 0"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the settings of GNU's OpenMP")
def test_ctranslate2s_own_openmp_takes_it():
    """It reads the environment when it is loaded, so this fails if CTranslate2 is imported first."""
    code = "from streamasr.inference import hardware; hardware.survey()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "GOMP_SPINCOUNT = '0'" in done.stderr
