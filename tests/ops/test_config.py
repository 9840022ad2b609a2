import argparse
from pathlib import Path

import msgspec
import pytest

from streamasr.errors import ConfigError
from streamasr.ops import config
from streamasr.ops.config import Settings

ROOT = Path(__file__).parents[2]
KEY = "a key of sixteen or more characters"


def load(*flags: str, file: Path | None = None, **environ: str) -> Settings:
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    args = [*flags, *(["--config", str(file)] if file else [])]
    return config.load(parser.parse_args(args), environ)


@pytest.fixture
def toml(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "streamasr.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_nothing_given_is_the_defaults():
    assert load() == Settings()


@pytest.mark.parametrize("option", config.options(), ids=lambda option: option.name)
def test_flag_variable_and_key_set_the_same(option, toml):
    value = {
        "model": "m",
        "model_entry": "f",
        "fallback": "none",
        "host": "h",
        "signing_key": KEY,
        "device": "cpu",
        "compute_type": "int8",
        "log_level": "debug",
        "admission": "off",
        "min_headroom": 0.25,
    }
    wanted = value.get(option.name, 2_000 if option.name in {"port", "max_frame_bytes", "max_file_bytes"} else 3)
    file = toml(f"{option.name} = {wanted!r}")

    settings = load(option.flag, str(wanted))

    assert settings != Settings()
    assert getattr(settings, option.name) == wanted
    assert load(**{option.variable: str(wanted)}) == settings
    assert load(file=file) == settings
    assert load(STREAMASR_CONFIG=str(file)) == settings


def test_the_names_derive_from_the_field():
    (option,) = [option for option in config.options() if option.name == "encoder_window"]

    assert (option.flag, option.variable) == ("--encoder-window", "STREAMASR_ENCODER_WINDOW")


def test_a_flag_wins_over_a_variable_that_over_the_file(toml):
    file = toml("port = 1\nthreads = 1\nmax_batch = 1")

    settings = load("--port", "3", file=file, STREAMASR_PORT="2", STREAMASR_THREADS="2")

    assert (settings.port, settings.threads, settings.max_batch) == (3, 2, 1)


def test_the_flag_names_the_file_before_the_variable_does(toml):
    assert load(file=toml("port = 1"), STREAMASR_CONFIG="/nowhere").port == 1


def test_an_empty_variable_counts_as_unset():
    assert load(STREAMASR_PORT="", STREAMASR_CONFIG="", STREAMASR_NOSUCH="") == Settings()


def test_other_variables_and_arguments_are_not_ours():
    assert config.load(argparse.Namespace(command="serve", verbose=1), {"PATH": "/bin", "PORT": "1"}) == Settings()


@pytest.mark.parametrize(
    ("flags", "environ", "text"),
    [
        (["--port", "http"], {}, "--port: expected an integer from 0 to 65535, got 'http'"),
        (["--max-batch", "0"], {}, "--max-batch: expected an integer of at least 1, got '0'"),
        (
            [],
            {"STREAMASR_ENCODER_WINDOW": "31"},
            "STREAMASR_ENCODER_WINDOW: expected a number above 0, at most 30, got '31'",
        ),
        ([], {"STREAMASR_SEND_TIMEOUT_S": "nan"}, "STREAMASR_SEND_TIMEOUT_S: expected a number above 0, got 'nan'"),
        ([], {"STREAMASR_DEVICE": "gpu"}, "STREAMASR_DEVICE: expected one of auto, cpu, cuda, got 'gpu'"),
        ([], {"STREAMASR_PROT": "1"}, "STREAMASR_PROT: there is no such setting; did you mean STREAMASR_PORT?"),
        ([], {"STREAMASR_XYZZY": "1"}, "STREAMASR_XYZZY: there is no such setting"),
        (["--config", "/nowhere.toml"], {}, "/nowhere.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_flag_or_variable_is_named_with_what_was_expected(flags, environ, text):
    with pytest.raises(ConfigError) as caught:
        load(*flags, **environ)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('port = "1"', "port: expected an integer from 0 to 65535, got '1'"),
        ("prot = 1", "there is no setting prot; did you mean port?"),
        ("[server]\nport = 1", "there is no setting server"),
        ("port = ", "is not TOML: Invalid value (at end of document)"),
    ],
)
def test_a_wrong_key_of_the_file_is_named_with_the_file(content, text, toml):
    file = toml(content)

    with pytest.raises(ConfigError) as caught:
        load(file=file)

    assert str(caught.value) == f"{file}: {text}"


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "streamasr.toml"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="is not TOML"):
        load(file=file)


def test_a_secret_is_never_shown(toml):
    settings = load("--signing-key", KEY)
    with pytest.raises(ConfigError) as caught:
        load(STREAMASR_SIGNING_KEY="short-secret")

    assert settings.signing_key == KEY
    assert KEY not in repr(settings) + str(settings.__rich_repr__())
    assert "signing_key='***'" in repr(settings)
    assert "signing_key=None" in repr(Settings())
    assert str(caught.value) == "STREAMASR_SIGNING_KEY: expected text of at least 16 characters, got something else"


def test_the_help_names_every_setting_once_in_its_group():
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    text = parser.format_help()

    for option in config.options():
        assert text.count(f"  {option.flag} {option.metavar}") == 1
        assert option.variable in text
    assert text.index("Network:") < text.index("--port PORT ") < text.index("Model:")


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        Settings().port = 1


def test_every_default_is_a_value_that_could_be_given():
    for option in config.options():
        assert msgspec.convert(option.default, option.type) == option.default


def test_the_reference_page_is_up_to_date():
    """Write it anew with `python -m streamasr.ops.config > docs/reference/config.md`."""
    assert (ROOT / "docs/reference/config.md").read_text(encoding="utf-8") == config.reference()
