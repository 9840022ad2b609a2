"""Where bytes come from: files that grow, pipes, addresses; faults are one sentence and give no secrets away."""

import http.server
import io
import os
import sys
import threading

import fsspec
import numpy as np
import pytest
from recordings import SECONDS, recording

from streamasr.errors import MediaError, TooLarge
from streamasr.inference.media import decode
from streamasr.inference.sources import GrowingFile, open_file, open_source

WAIT_S = 20


def test_a_growing_file_reads_what_was_written_and_ends_when_it_is_finished():
    with GrowingFile() as file:
        file.write(b"abc")
        file.write(memoryview(b"defg"))
        file.finish()

        assert file.read(2) == b"ab"
        assert file.read(100) == b"cdefg"
        assert file.read(1) == b""
        assert (file.seek(-3, io.SEEK_END), file.read(2)) == (4, b"ef")
        assert (file.seek(1), file.seek(1, io.SEEK_CUR), file.read(1)) == (1, 2, b"c")
        assert (file.size, file.complete) == (7, True)


def test_a_reader_waits_for_bytes_and_gets_them_in_order_from_another_thread():
    data = bytes(range(256)) * 400
    with GrowingFile() as file:

        def produce():
            for at in range(0, len(data), 777):
                file.write(data[at : at + 777])
            file.finish()

        producer = threading.Thread(target=produce)
        producer.start()
        read = b"".join(iter(lambda: file.read(1000), b""))
        producer.join()

    assert read == data


def test_what_is_there_is_read_without_waiting_for_as_much_as_was_asked():
    with GrowingFile() as file:
        file.write(b"abc")

        assert file.read(65_536) == b"abc"


def test_it_is_seekable_once_it_is_complete():
    with GrowingFile() as file:
        file.write(b"abc")
        before = file.seekable()
        file.finish()

        assert (before, file.seekable()) == (False, True)


def test_seeking_from_the_end_waits_for_the_end():
    with GrowingFile() as file:
        file.write(b"abc")
        timer = threading.Timer(0.05, lambda: (file.write(b"de"), file.finish()))
        timer.start()

        assert file.seek(0, io.SEEK_END) == 5
        timer.join()


def test_more_bytes_than_allowed_are_refused_to_writer_and_reader():
    with GrowingFile("the upload", max_bytes=5) as file:
        file.write(b"abcde")
        with pytest.raises(TooLarge, match="the upload is larger than the 5 bytes that are allowed"):
            file.write(b"f")

        assert file.read(10) == b"abcde"
        with pytest.raises(TooLarge):
            file.read(10)


def test_after_closing_nothing_can_be_written_or_read():
    file = GrowingFile("upload 7")
    file.write(b"abc")
    file.close()
    file.close()

    for use in (lambda: file.write(b"d"), lambda: file.read(1), file.wait):
        with pytest.raises(MediaError, match="upload 7 was closed before"):
            use()


def test_a_path_that_cannot_be_read_is_told_in_a_sentence(tmp_path):
    for path, message in [(tmp_path, "is a directory; a file was expected."), (tmp_path / "x.wav", "does not exist.")]:
        with pytest.raises(MediaError) as raised, open_file(path):
            pytest.fail("it was opened")
        assert str(raised.value) == f"{path} {message}"


@pytest.mark.parametrize("name", ["wav", "m4a"])
def test_a_pipe_is_decoded_as_a_file_is(name):
    """Even an MP4 whose index comes last: what is read from a pipe is kept."""
    data = recording(name)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as end:
        producer = threading.Thread(target=lambda: (end.write(data), end.close()))
        producer.start()
        piped = np.concatenate(list(decode(pipe)))
        producer.join()
        assert not pipe.closed

    assert np.array_equal(piped, np.concatenate(list(decode(io.BytesIO(data)))))


# Addresses.


def test_an_address_of_any_protocol_that_fsspec_knows_is_decoded():
    with fsspec.open("memory://talks/a.m4a", "wb") as file:
        file.write(recording("m4a"))

    samples = np.concatenate(list(decode("memory://talks/a.m4a", offset_s=1.0)))

    assert len(samples) == pytest.approx((SECONDS - 1) * 16_000, abs=800)
    with open_source("memory://talks/a.m4a") as file:
        assert (file.seek(4), file.read(4)) == (4, b"ftyp")


def test_errors_name_the_address_that_the_caller_opened():
    with fsspec.open("memory://talks/notes.txt", "wb") as file:
        file.write(b"Dear Sir or Madam, " * 100)

    with (
        open_source("memory://talks/notes.txt") as file,
        pytest.raises(MediaError, match=r"^memory://talks/notes.txt "),
    ):
        list(decode(file))


def test_an_address_that_is_not_there_does_not_exist():
    with pytest.raises(MediaError, match=r"^memory://talks/none.wav does not exist\.$"):
        open_source("memory://talks/none.wav")


@pytest.mark.parametrize(
    ("address", "package"), [("s3://b/a.wav", "s3fs"), ("gs://b/a.wav", "gcsfs"), ("az://b/a.wav", "adlfs")]
)
def test_a_missing_package_is_named_by_what_installs_it(address, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MediaError) as raised:
        open_source(address)

    protocol = address.partition(":")[0]
    assert str(raised.value) == (
        f"{address} needs a package for {protocol}:// files that is not installed: "
        "pip install 'streamasr[remote]' brings it."
    )


def test_an_unknown_protocol_is_named():
    with pytest.raises(MediaError, match=r"gopher://a/b.wav cannot be opened: Protocol not known: gopher"):
        open_source("gopher://a/b.wav")


class Files(http.server.BaseHTTPRequestHandler):
    """A plain web server: no ranges. Anything under /private is forbidden, /cut breaks off."""

    protocol_version = "HTTP/1.1"
    data = recording("m4a")

    def do_GET(self):
        if self.path.startswith("/talk.m4a"):
            self.answer(200, self.data, len(self.data))
        elif self.path.startswith("/slow"):
            self.answer(200, self.data[:500], len(self.data))
            for at in range(500, len(self.data), len(self.data) // 5):
                self.wfile.write(self.data[at : at + len(self.data) // 5])
                self.server.ended.wait(0.15)
        elif self.path.startswith("/silent"):
            self.answer(200, self.data[:500], len(self.data))
            self.server.ended.wait(WAIT_S)
        elif self.path.startswith("/cut"):
            self.answer(200, self.data[:1000], len(self.data))
            self.close_connection = True
        else:
            self.answer(403 if self.path.startswith("/private") else 404, b"", 0)

    def do_HEAD(self):
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status, body, length):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.ended = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.ended.set()
        server.shutdown()
        thread.join(WAIT_S)


def test_a_web_server_that_gives_no_parts_of_files_is_read_once_in_order(web):
    samples = np.concatenate(list(decode(f"http://{web}/talk.m4a?signature=secret")))

    assert np.array_equal(samples, np.concatenate(list(decode(io.BytesIO(Files.data)))))


def test_a_file_may_take_as_long_as_it_likes_while_something_comes(web, monkeypatch):
    """The package's own limit is on the whole file; here it is shorter than this one takes."""
    aiohttp = pytest.importorskip("aiohttp")
    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.4))
    fsspec.get_filesystem_class("http").clear_instance_cache()

    with open_source(f"http://{web}/slow.m4a") as file:
        assert b"".join(iter(lambda: file.read(1 << 16), b"")) == Files.data


def test_a_web_server_that_falls_silent_is_given_up_and_that_is_said(web):
    with (
        open_source(f"http://{web}/silent.m4a", stalled_s=0.3) as file,
        pytest.raises(MediaError) as raised,
    ):
        list(decode(file))

    assert str(raised.value) == f"http://{web}/silent.m4a could not be read to its end: nothing came for 0.3 s."


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("private.wav", "cannot be opened: Forbidden."),
        ("none.wav", "cannot be opened: "),
        ("cut.m4a", "could not be read to its end: "),
    ],
)
def test_what_a_web_server_refuses_is_told_without_the_address_secrets(web, path, message):
    with pytest.raises(MediaError) as raised:
        list(decode(f"http://user:pass@{web}/{path}?signature=secret"))

    assert str(raised.value).startswith(f"http://{web}/{path} {message}")
    assert not any(secret in str(raised.value) for secret in ("secret", "pass"))
