"""A downloaded directory against the list beside it."""

import hashlib

import msgspec
import pytest

from streamasr.errors import ModelError
from streamasr.inference.manifest import MANIFEST, HubFile, Manifest, digest, verify


@pytest.fixture
def downloaded(tmp_path):
    """A directory with a small and a large file and their manifest."""
    (tmp_path / "small").write_bytes(b"hello\n")
    (tmp_path / "large").write_bytes(b"weights")
    files = (
        HubFile(name="small", size=6, checksum="git-sha1:ce013625030ba8dba906f756967f9e9ca394464a"),
        HubFile(name="large", size=7, checksum=f"sha256:{hashlib.sha256(b'weights').hexdigest()}"),
    )
    manifest = Manifest(repo="me/mine", revision="main", commit="c", files=files)
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return tmp_path


def test_what_was_downloaded_is_right(downloaded):
    assert verify(downloaded) == ()


def test_a_checksum_of_gits_is_that_of_git(tmp_path):
    """As ``git hash-object`` has it."""
    (tmp_path / "file").write_bytes(b"hello\n")
    assert digest(tmp_path / "file", "git-sha1:") == "git-sha1:ce013625030ba8dba906f756967f9e9ca394464a"


def test_each_file_that_is_wrong_is_named(downloaded):
    (downloaded / "small").unlink()
    (downloaded / "large").write_bytes(b"Weights")
    missing, changed = verify(downloaded)
    assert missing == "small is missing"
    assert changed.startswith("large is not what was downloaded")


def test_a_directory_without_a_manifest_cannot_be_compared(tmp_path):
    with pytest.raises(ModelError, match="nothing to compare"):
        verify(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"repo": 1}'])
def test_a_manifest_that_is_none_is_an_error(downloaded, text):
    (downloaded / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match="is not a manifest"):
        verify(downloaded)
