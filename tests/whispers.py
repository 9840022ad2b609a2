"""Whisper models with random weights and the real configurations, made when they are needed.

What is real: vocabularies, special tokens and their order, mel bins, decoder layers and heads (alignment heads name
them), which tokens are suppressed. They come out of openai-whisper's source package, which pip fetches once into
`.out/` of the checkout; nothing of it is in this project. What is random: the weights. `SIZES` are the full shapes;
`shrunk` takes away what nothing but accuracy depends on.
"""

import ast
import base64
import gzip
import json
import math
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PLACE = Path(__file__).parents[1] / ".out" / "openai-whisper"
PACKAGE = "openai-whisper==20250625"
MARKS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
SYMBOLS = (*'"#()*+/:;<=>@[\\]^_`{|}~「」『』♩♪♫♬♭♮♯', *MARKS.split())
"""What conversions suppress: annotations such as (LAUGHS) and ♪."""


class Size(NamedTuple):
    """A model's configuration."""

    name: str
    encoder_layers: int
    decoder_layers: int
    heads: int
    width: int
    n_mels: int = 80
    english_only: bool = False
    languages: int = 99
    timestamps: bool = False
    """Whether the tokenizer file has tokens for them: newer conversions do, older ones leave their ids without text."""

    @property
    def shrunk(self) -> "Size":
        """The same with one encoder layer and narrow heads."""
        return self._replace(encoder_layers=1, width=8 * self.heads)


SIZES = {
    size.name: size
    for size in (
        Size("tiny", 4, 4, 6, 384),
        Size("tiny.en", 4, 4, 6, 384, english_only=True),
        Size("base", 6, 6, 8, 512),
        Size("small", 12, 12, 12, 768),
        Size("medium", 24, 24, 16, 1024),
        Size("large-v3", 32, 32, 20, 1280, n_mels=128, languages=100, timestamps=True),
        Size("large-v3-turbo", 32, 4, 20, 1280, n_mels=128, languages=100, timestamps=True),
        Size("distil-small.en", 12, 4, 12, 768, english_only=True),
        Size("distil-medium.en", 24, 2, 16, 1024, english_only=True),
        Size("distil-large-v3", 32, 2, 20, 1280, n_mels=128, languages=100, timestamps=True),
    )
}


@cache
def source() -> dict[str, bytes]:
    """The files of openai-whisper's source package that say how its models are made, by their names.

    Raises:
        RuntimeError: pip cannot fetch it.
    """
    if not any(PLACE.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "openai-whisper"]
        done = subprocess.run([*command, "--dest", str(PLACE), PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip cannot fetch {PACKAGE}'s source package: {done.stderr}")
    wanted = ("multilingual.tiktoken", "gpt2.tiktoken", "whisper/tokenizer.py", "whisper/__init__.py")
    found = {}
    with tarfile.open(next(PLACE.glob("*.tar.gz"))) as archive:
        for member in archive:
            if member.name.endswith(wanted) and (file := archive.extractfile(member)):
                found[member.name.rpartition("/")[2]] = file.read()
    return found


def languages(size: Size) -> list[str]:
    """Codes of the languages a size's vocabulary has tokens for, in their order."""
    return list(_literal("tokenizer.py", "LANGUAGES"))[: size.languages]


def alignment_heads(size: Size) -> list[list[int]]:
    """(layer, head) of those OpenAI chose; for sizes it did not make, all of the later half."""
    dumps = _literal("__init__.py", "_ALIGNMENT_HEADS")
    if size.name not in dumps:
        return [[i, j] for i in range(size.decoder_layers // 2, size.decoder_layers) for j in range(size.heads)]
    flags = np.frombuffer(gzip.decompress(base64.b85decode(dumps[size.name])), bool)
    return np.argwhere(flags.reshape(size.decoder_layers, size.heads)).tolist()


def special_tokens(size: Size) -> list[str]:
    """From ``<|endoftext|>`` to ``<|notimestamps|>``, under the names that conversions of the size give them."""
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in languages(size)),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>" if size.timestamps else "<|nocaptions|>",
        "<|notimestamps|>",
    ]


TIMES = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def tokenizer(size: Size) -> Tokenizer:
    """The tokenizer that stands beside a conversion of this size."""
    texts, merges = _bpe("gpt2" if size.english_only else "multilingual")
    made = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in special_tokens(size)])
    if size.timestamps:
        made.add_tokens([AddedToken(time, normalized=False) for time in TIMES])
    return made


def build(size: Size, out: Path, *, heads: list[list[int]] | None = None, leaning: str | None = None) -> Path:
    """Write a model of random int8 weights as CTranslate2's converter would write it; returns ``out``.

    Args:
        size: its configuration.
        out: a directory, made if it is not there.
        heads: alignment heads in its configuration, in place of the right ones.
        leaning: a token that the model finds the likeliest wherever it may.
    """
    out.mkdir(parents=True, exist_ok=True)
    words, _ = _bpe("gpt2" if size.english_only else "multilingual")
    vocabulary = [*words, *special_tokens(size), *TIMES]
    spec = _weights(size, vocabulary, leaning)
    made = tokenizer(size)
    first = vocabulary.index("<|endoftext|>")
    spec.config.suppress_ids = _suppressed(made, vocabulary)
    spec.config.suppress_ids_begin = [vocabulary.index("Ġ"), first]
    spec.config.lang_ids = list(range(first + 2, first + 2 + size.languages))
    spec.config.alignment_heads = heads or alignment_heads(size)
    spec.save(str(out))
    made.save(str(out / "tokenizer.json"))
    (out / "preprocessor_config.json").write_text(json.dumps({"feature_size": size.n_mels}), "utf-8")
    return out


def _suppressed(made: Tokenizer, vocabulary: list[str]) -> list[int]:
    """Annotations, and those special tokens that the model might say but must not."""
    found = {made.encode(mark).ids[0] for mark in (" -", " '")}
    for symbol in SYMBOLS:
        for ids in (made.encode(symbol).ids, made.encode(" " + symbol).ids):
            if len(ids) == 1 or symbol in "♩♪♫♬♭♮♯":
                found.add(ids[0])
    start, end = vocabulary.index("<|translate|>"), vocabulary.index("<|notimestamps|>")
    return sorted({*found, vocabulary.index("<|startoftranscript|>"), *range(start, end)})


@cache
def _literal(file: str, name: str) -> Any:
    """The value of a constant in one of the package's modules."""
    for node in ast.parse(source()[file]).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise RuntimeError(f"{PACKAGE} has no {name} in {file}")


@cache
def _bpe(name: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens, in the characters that stand for their bytes, and the merges that make them, by their ranks."""
    lines = source()[f"{name}.tiktoken"].split(b"\n")
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line}
    letters = _letters()

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [_halves(token, ranks, rank) for token, rank in ranks.items() if len(token) > 1]
    return [text(token) for token in ranks], [(text(left), text(right)) for left, right in merges]


def _halves(token: bytes, ranks: dict[bytes, int], rank: int) -> tuple[bytes, bytes]:
    """The two tokens whose merge makes ``token``: what is left when only earlier merges have been made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        found = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(pairwise(parts))]
        best, i = min(found)
        if best == rank:
            raise RuntimeError(f"{token!r} is not made of two earlier tokens")
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]


def _letters() -> dict[int, str]:
    """GPT-2's letter for each byte: itself if it prints, else one from U+0100 on."""
    prints = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in prints)
    return {**{byte: chr(byte) for byte in prints}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def _weights(size: Size, vocabulary: list[str], leaning: str | None) -> Any:
    from ctranslate2.specs import WhisperSpec

    rng = np.random.default_rng(0)
    width = size.width
    spec = WhisperSpec(size.encoder_layers, size.heads, size.decoder_layers, size.heads)
    spec.register_vocabulary(vocabulary)
    for conv, inputs in ((spec.encoder.conv1, size.n_mels), (spec.encoder.conv2, width)):
        _matrix(conv, width, 3 * inputs, rng)
        conv.weight = conv.weight.reshape(width, inputs, 3)
        conv.bias = np.zeros(width, np.float32)
    spec.encoder.position_encodings.encodings = rng.normal(0, 0.1, (1500, width)).astype(np.float32)
    spec.decoder.position_encodings.encodings = rng.normal(0, 0.1, (448, width)).astype(np.float32)
    _matrix(spec.decoder.embeddings, len(vocabulary), width, rng)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    spec.decoder.projection.weight_scale = spec.decoder.embeddings.weight_scale
    for norm, weights in _parts(spec, width):
        norm.gamma, norm.beta = np.ones(width, np.float32), np.zeros(width, np.float32)
        for linear, outputs, inputs in weights:
            _matrix(linear, outputs, inputs, rng)
            linear.bias = rng.normal(0, 0.1, outputs).astype(np.float32)
    if leaning is not None:
        row = spec.decoder.embeddings.weight[vocabulary.index(leaning)].astype(np.float32)
        spec.decoder.layer_norm.beta = 20 * row / np.linalg.norm(row)
    spec.validate()
    spec.decoder.projection.weight = "decoder/embeddings/weight"  # one matrix, as converters write it
    spec.decoder.projection.weight_scale = "decoder/embeddings/weight_scale"
    return spec


def _parts(spec: Any, width: int) -> Iterator[tuple[Any, list[tuple[Any, int, int]]]]:
    """Every norm, with the matrices that come after it and their outputs and inputs."""
    yield spec.encoder.layer_norm, []
    yield spec.decoder.layer_norm, []
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        linear = layer.self_attention.linear
        yield layer.self_attention.layer_norm, [(linear[0], 3 * width, width), (linear[1], width, width)]
        yield layer.ffn.layer_norm, [(layer.ffn.linear_0, 4 * width, width), (layer.ffn.linear_1, width, 4 * width)]
    for layer in spec.decoder.layer:
        linear = layer.attention.linear
        shapes = [(linear[0], width, width), (linear[1], 2 * width, width), (linear[2], width, width)]
        yield layer.attention.layer_norm, shapes


def _matrix(target: Any, outputs: int, inputs: int, rng: np.random.Generator) -> None:
    target.weight = rng.integers(-127, 128, (outputs, inputs), np.int8)
    target.weight_scale = np.full(outputs, 127 * math.sqrt(inputs / 3), np.float32)
