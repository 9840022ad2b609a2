"""Whisper's architecture in plain PyTorch, as CTranslate2 runs it, with what only training needs.

Only in training: a head that spells letters (CTC) on the encoder's output; timestamp embeddings that are a
learned linear map of a fixed sinusoid, so that they share strength; random places to begin the encoder's
positions. Parameter names are those of the checkpoints that exist; keep them.
"""

import math
from typing import cast

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from training.initial import POSITION_CHANNELS, LocalHeads, position_table, sinusoids
from training.settings import Shape
from training.tokenizer import LETTERS, TIMESTAMPS

ENCODER_POSITIONS = 1_500
DECODER_POSITIONS = 448
SUPERVISED_HEADS = ((-2, 2), (-1, 1))
"""(decoder layer, how many of its first heads): their attention is taught where each token is heard."""


class Attention(nn.Module):
    """Multi-head attention, to itself or to the encoder's output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Parameter(torch.empty(width, width)) for _ in range(4))
        self.qb, self.vb, self.ob = (nn.Parameter(torch.zeros(width)) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """What ``x`` (B, T, width) sees in itself, or in ``memory`` (B, S, width)."""
        source = x if memory is None else memory
        q, k = self._split(fn.linear(x, self.q, self.qb)), self._split(fn.linear(source, self.k))
        v = self._split(fn.linear(source, self.v, self.vb))
        y = fn.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return fn.linear(y.transpose(1, 2).flatten(2), self.o, self.ob)

    def probabilities(self, x: Tensor, memory: Tensor, heads: int) -> Tensor:
        """What the first ``heads`` heads attend to, (B, heads, T, S)."""
        q, k = self._split(fn.linear(x, self.q, self.qb)), self._split(fn.linear(memory, self.k))
        scores = q[:, :heads] @ k[:, :heads].transpose(2, 3) / math.sqrt(q.shape[-1])
        return scores.softmax(-1)

    def _split(self, y: Tensor) -> Tensor:
        return y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)


class Block(nn.Module):
    """One layer of the encoder, or of the decoder (``cross``)."""

    def __init__(self, width: int, heads: int, *, cross: bool) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.cross = cross
        if cross:
            self.ln2, self.xattn = nn.LayerNorm(width), Attention(width, heads)
        self.ln3 = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.supervised = 0

    def forward(self, x: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The layer's output, and what its supervised heads attended to (B, heads, T, S), if it has any."""
        x = x + self.attn(self.ln1(x), causal=self.cross)
        seen = None
        if memory is not None:
            normed = self.ln2(x)
            if self.supervised and self.training:
                seen = self.xattn.probabilities(normed, memory, self.supervised)
            x = x + self.xattn(normed, memory)
        return x + self.fc2(fn.gelu(self.fc1(self.ln3(x)))), seen


class Model(nn.Module):
    """The whole model."""

    pos: Tensor
    ts_sin: Tensor

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        width, heads = shape.width, shape.heads
        self.shape, self.vocabulary = shape, vocabulary
        self.shifted = 0.0
        """Share of training windows whose positions begin at a random place."""
        self.conv1 = nn.Conv1d(shape.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("pos", position_table(ENCODER_POSITIONS, width), persistent=False)
        self.enc = nn.ModuleList(Block(width, heads, cross=False) for _ in range(shape.encoder_layers))
        self.ln_enc = nn.LayerNorm(width)
        self.dec = nn.ModuleList(Block(width, heads, cross=True) for _ in range(shape.decoder_layers))
        self.ln_dec = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, len(LETTERS) + 1)
        self.emb = nn.Parameter(torch.randn(vocabulary - TIMESTAMPS, width) * 0.05)
        self.register_buffer("ts_sin", sinusoids(TIMESTAMPS, width), persistent=False)
        self.ts_map = nn.Parameter(torch.randn(width, width) * 0.05 / math.sqrt(width / 2))
        self.ts_bias = nn.Parameter(torch.zeros(width))
        self.dpos = nn.Parameter(torch.randn(DECODER_POSITIONS, width) * 0.02)
        self._initialise()
        for layer, count in SUPERVISED_HEADS[-shape.decoder_layers :]:
            cast("Block", self.dec[layer]).supervised = count

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if is_matrix(name, parameter):
                gain = 0.5 if name.endswith((".o", "fc2.weight")) else 1.0
                nn.init.normal_(parameter, std=gain / math.sqrt(parameter.shape[1]))
        for conv in (self.conv1, self.conv2):  # so that the positions do not drown what is heard
            nn.init.normal_(conv.weight, std=2.0 / math.sqrt(conv.weight.shape[1] * 3))
        with torch.no_grad():
            self.conv2.weight[:POSITION_CHANNELS] *= 0.02
            for layer, block in enumerate(self.enc):
                attention = cast("Block", block).attn
                LocalHeads(layer).start(attention.q, attention.k, attention.heads)

    def table(self) -> Tensor:
        """The embedding of every token, (vocabulary, width)."""
        return torch.cat([self.emb, self.ts_sin @ self.ts_map + self.ts_bias])

    def encode(self, mel: Tensor) -> Tensor:
        """(B, mels, T) to (B, T / 2, width)."""
        x = fn.gelu(self.conv1(mel))
        x = fn.gelu(self.conv2(x)).transpose(1, 2).contiguous()  # one layout for every compiled layer
        x = x + self._positions(x)
        for block in self.enc:
            x, _ = block(x)
        return cast("Tensor", self.ln_enc(x))

    def _positions(self, x: Tensor) -> Tensor:
        """The position code of each frame: from 0 on, or early in training from anywhere."""
        count, frames = x.shape[:2]
        if not (self.training and self.shifted):
            return self.pos[:frames]
        room = max(0, ENCODER_POSITIONS - frames)
        moved = torch.rand(count, device=x.device) < self.shifted
        first = (torch.rand(count, device=x.device) * room * moved).long()
        return self.pos[first[:, None] + torch.arange(frames, device=x.device)]

    def decode(self, tokens: Tensor, memory: Tensor, table: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens (B, L) and the encoder's output to states (B, L, width) and supervised attention."""
        x = fn.embedding(tokens, table) + self.dpos[: tokens.shape[1]]
        attention = []
        for block in self.dec:
            x, seen = block(x, memory)
            attention += [] if seen is None else [seen]
        return self.ln_dec(x), attention


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Is this a weight matrix of a layer, which Muon trains?"""
    return parameter.ndim == 2 and ("attn" in name or "fc" in name)
