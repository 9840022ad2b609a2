"""The export step: a checkpoint to a model directory that CTranslate2 and faster-whisper load."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.heads import Head
from training.model import SUPERVISED_HEADS, Attention, Block, Model
from training.tokenizer import Tokens

SUPPRESSED = (
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
)
PREPROCESSOR = {
    "chunk_length": 30,
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3_000,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
}


def export(model: Model, tokenizer: Path, out: Path, quantization: str | None, heads: Sequence[Head] = ()) -> int:
    """Write the model directory, replacing what is there; returns its bytes.

    ``heads`` are those word times are taken from; without any, those that training supervises.

    Raises:
        ValueError: the tokenizer is not the model's, or not in Whisper's layout.
    """
    tokens = Tokens(tokenizer)
    vocabulary = tokens.all_texts()
    if len(vocabulary) != model.vocabulary or vocabulary[tokens.end - 1] or vocabulary[-1] != "<|30.00|>":
        raise ValueError(f"{tokenizer} is not the tokenizer of this model")
    layers = model.shape.decoder_layers
    supervised = [(layers + i, j) for i, n in SUPERVISED_HEADS[-layers:] for j in range(n)]
    spec = specification(model)
    spec.register_vocabulary(vocabulary)
    languages = sorted(tokens.languages.values())
    spec.config.suppress_ids = sorted([*(vocabulary.index(token) for token in SUPPRESSED), *languages])
    # Only the bare space may not come first: silence is answered with <|endoftext|> at once.
    spec.config.suppress_ids_begin = [vocabulary.index("Ġ")]
    spec.config.lang_ids = languages
    spec.config.alignment_heads = [list(head) for head in (heads or supervised)]
    spec.validate()
    spec.optimize(quantization=quantization)
    out.mkdir(parents=True, exist_ok=True)
    spec.save(str(out))
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    (out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=1), "utf-8")
    return sum(path.stat().st_size for path in out.iterdir())


def specification(model: Model) -> Any:
    """CTranslate2's description of the model, with its weights in float32."""
    from ctranslate2.specs import WhisperSpec

    shape = model.shape
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    encoder, decoder = spec.encoder, spec.decoder
    for name in ("conv1", "conv2"):
        conv = cast("nn.Conv1d", getattr(model, name))
        target = getattr(encoder, name)
        target.weight, target.bias = _array(conv.weight), _array(_bias(conv))
    encoder.position_encodings.encodings = _array(model.pos)
    decoder.position_encodings.encodings = _array(model.dpos)
    decoder.embeddings.weight = decoder.projection.weight = _array(model.table())
    _norm(encoder.layer_norm, model.ln_enc)
    _norm(decoder.layer_norm, model.ln_dec)
    for target, block in zip(encoder.layer, model.enc, strict=True):
        _layer(target, cast("Block", block))
    for target, block in zip(decoder.layer, model.dec, strict=True):
        _layer(target, cast("Block", block))
        _cross_attention(target.attention, cast("Block", block).xattn, cast("Block", block).ln2)
    return spec


def _layer(target: Any, block: Block) -> None:
    """What encoder and decoder layers have in common: self-attention and feed-forward."""
    a = block.attn
    _norm(target.self_attention.layer_norm, block.ln1)
    _linear(target.self_attention.linear[0], torch.cat([a.q, a.k, a.v]), torch.cat([a.qb, _no_bias(a), a.vb]))
    _linear(target.self_attention.linear[1], a.o, a.ob)
    _norm(target.ffn.layer_norm, block.ln3)
    _linear(target.ffn.linear_0, block.fc1.weight, block.fc1.bias)
    _linear(target.ffn.linear_1, block.fc2.weight, block.fc2.bias)


def _cross_attention(target: Any, a: Attention, norm: nn.LayerNorm) -> None:
    _norm(target.layer_norm, norm)
    _linear(target.linear[0], a.q, a.qb)
    _linear(target.linear[1], torch.cat([a.k, a.v]), torch.cat([_no_bias(a), a.vb]))
    _linear(target.linear[2], a.o, a.ob)


def _no_bias(attention: Attention) -> Tensor:
    """Whisper's keys have no bias."""
    return torch.zeros_like(attention.qb)


def _bias(conv: nn.Conv1d) -> Tensor:
    if conv.bias is None:
        raise ValueError("Whisper's convolutions have biases")
    return conv.bias


def _norm(target: Any, norm: nn.LayerNorm) -> None:
    target.gamma, target.beta = _array(norm.weight), _array(norm.bias)


def _linear(target: Any, weight: Tensor, bias: Tensor) -> None:
    target.weight, target.bias = _array(weight), _array(bias)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
