"""The dimensions of a model, read from the header of each variable in its ``model.bin``; no weight is loaded.

Knows CTranslate2's file format, versions 4 to 6, and nothing else.
"""

import os
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from streamasr.errors import ModelError

READABLE = range(4, 7)
"""Versions of the format whose headers look as they are read here."""
MOST_VARIABLES = 100_000
HEADS = "decoder/num_heads"
LAYER = re.compile(r"^(encoder|decoder)/layer_(\d+)/")


class Dimensions(NamedTuple):
    """What a model's variables say of it."""

    encoder_layers: int
    decoder_layers: int
    width: int
    n_mels: int
    vocabulary: int
    """Rows of the token embedding."""
    parameters: int
    heads: int
    """Of attention, in each of the decoder's layers; 64 wide where the file does not say."""


def dimensions(path: Path) -> Dimensions:
    """Read a Whisper model's dimensions; a few milliseconds, whatever its size.

    Raises:
        ModelError: the file cannot be read, is cut off, or is no Whisper model of CTranslate2's.
    """
    try:
        with path.open("rb") as file:
            shapes, heads = _headers(file)
    except OSError as error:
        raise ModelError(f"model: {path} cannot be read: {error.strerror}") from error
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise ModelError(f"model: {path} is cut off or not a model in CTranslate2 format") from error
    layers = {"encoder": 0, "decoder": 0}
    for name in shapes:
        if found := LAYER.match(name):
            layers[found[1]] = max(layers[found[1]], int(found[2]) + 1)
    embedding, convolution = shapes.get("decoder/embeddings/weight"), shapes.get("encoder/conv1/weight")
    if embedding is None or convolution is None or len(embedding) != 2 or len(convolution) != 3:
        raise ModelError(f"model: {path} is not a Whisper model: it lacks an encoder or a decoder")
    return Dimensions(
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        width=embedding[1],
        n_mels=convolution[1],
        vocabulary=embedding[0],
        parameters=sum(_count(shape) for name, shape in shapes.items() if not name.endswith("_scale")),
        heads=heads or embedding[1] // 64,
    )


def _headers(file: BinaryIO) -> tuple[dict[str, tuple[int, ...]], int]:
    """Every variable's dimensions, and the one value that is needed: the decoder's number of heads.

    What lies between the headers is skipped, but must be there.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    (version,) = _unpack(file, "<I")
    if version not in READABLE:
        raise struct.error(f"version {version}")
    _string(file)
    _, count = _unpack(file, "<II")
    shapes, heads = {}, 0
    for _ in range(min(count, MOST_VARIABLES)):
        name = _string(file)
        (rank,) = _unpack(file, "<B")
        shapes[name] = tuple(_unpack(file, f"<{rank}I"))
        _, size = _unpack(file, "<BI")
        if name == HEADS:
            heads = int.from_bytes(file.read(size), "little")
        elif file.seek(size, os.SEEK_CUR) > end:
            raise struct.error("cut off")
    return shapes, heads


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<H")
    return file.read(length)[:-1].decode()


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for dimension in shape:
        product *= dimension
    return product
