"""Which cross-attention heads show best where a word is spoken: the model's ``alignment_heads``.

Measured as CTranslate2's ``align`` does it: normalise, median filter, mean over heads, dynamic time warping.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from training.mel import HOP, log_power, normalise
from training.model import Block, Model
from training.settings import ENCODER_STEP, SAMPLE_RATE
from training.tokenizer import Tokens
from training.windows.corpus import Corpus, Entry

MOST_HEADS = 6
CANDIDATES = 8
WORTH_SAMPLES = 8.0
"""A head is added if it lowers the mean error by this much (0.5 ms)."""
MEDIAN = 7
PROMPT = 3
"""Rows before the first text token's: the attention that predicts a token is of the position before it."""

Head = tuple[int, int]
Array = NDArray[np.float32]


class Example(NamedTuple):
    """One utterance's attention and truth."""

    attention: Array
    """(layers, heads, rows, frames): rows predict the text's tokens and the end; normalised and filtered."""
    bounds: NDArray[np.int64]
    """The first row of each word, and of the end."""
    starts: NDArray[np.int64]
    """True word times, in samples."""
    ends: NDArray[np.int64]


def choose_heads(model: Model, tokens: Tokens, corpus: Corpus, utterances: int = 24) -> list[Head]:
    """The (layer, head) pairs whose mean attention gives the least error of word times, best first found."""
    rng = Random(9)
    usable = [e for e in corpus.entries if e.utterance.language == "en" and 4 <= len(e.utterance.words) <= 9]
    examples = [
        _example(model, tokens, corpus, entry, rng) for entry in rng.sample(usable, min(utterances, len(usable)))
    ]
    layers, heads = examples[0].attention.shape[:2]
    alone = sorted((mean_error(examples, [(i, j)]), (i, j)) for i in range(layers) for j in range(heads))
    best, chosen = alone[0][0], [alone[0][1]]
    while len(chosen) < MOST_HEADS:
        others = [head for _, head in alone[:CANDIDATES] if head not in chosen]
        together = sorted((mean_error(examples, [*chosen, head]), head) for head in others)
        if not together or together[0][0] > best - WORTH_SAMPLES:
            break
        best, chosen = together[0][0], [*chosen, together[0][1]]
    return sorted(chosen)


def mean_error(examples: Sequence[Example], heads: Sequence[Head]) -> float:
    """The mean distance of word starts and ends from the truth, in samples."""
    errors: list[NDArray[np.int64]] = []
    for example in examples:
        together = np.mean([example.attention[layer, head] for layer, head in heads], axis=0)
        frames = first_frames(-together) * ENCODER_STEP
        errors += [np.abs(frames[example.bounds[:-1]] - example.starts)]
        errors += [np.abs(frames[example.bounds[1:]] - example.ends)]
    return float(np.concatenate(errors).mean())


def first_frames(cost: Array) -> NDArray[np.int64]:
    """For each row of a cost matrix, the column at which the cheapest monotonic path enters it."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    entered = np.zeros(rows, np.int64)
    i, j = rows, columns
    while i and j:
        entered[i - 1] = j - 1
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if diagonal < up and diagonal < left:
            i, j = i - 1, j - 1
        elif up < left:
            i -= 1
        else:
            j -= 1
    return entered


def _example(model: Model, tokens: Tokens, corpus: Corpus, entry: Entry, rng: Random) -> Example:
    """One utterance with a little silence around it, its true text given to the decoder."""
    said = entry.utterance
    lead = rng.randint(SAMPLE_RATE // 10, SAMPLE_RATE // 2)
    signal = np.pad(corpus.audio(entry), (lead, SAMPLE_RATE // 4))
    signal = signal[: len(signal) // (2 * HOP) * (2 * HOP)]
    power = log_power(signal, model.shape.mels)
    mel = torch.from_numpy(normalise(power, float(power.max())))[None]
    words = [tokens.word(word) for word in said.words]
    text = [token for word in words for token in word]
    task = [tokens.start, tokens.languages[said.language], tokens.transcribe, tokens.no_timestamps]
    attention = _attention(model, mel, torch.tensor([[*task, *text, tokens.end]]))
    rows = attention[:, :, PROMPT : PROMPT + len(text) + 1]
    deviation = rows.std(2, keepdims=True) + 1e-9
    filtered = _median((rows - rows.mean(2, keepdims=True)) / deviation)
    bounds = np.cumsum([0, *(len(word) for word in words)])
    return Example(filtered, bounds, np.array(said.starts) + lead, np.array(said.ends) + lead)


@torch.no_grad()
def _attention(model: Model, mel: torch.Tensor, ids: torch.Tensor) -> Array:
    """Every cross-attention head's probabilities, (layers, heads, positions, frames)."""
    memory = model.encode(mel)
    x = torch.nn.functional.embedding(ids, model.table()) + model.dpos[: ids.shape[1]]
    seen = []
    for layer in model.dec:
        block = cast("Block", layer)
        after_self = x + block.attn(block.ln1(x), causal=True)
        seen.append(block.xattn.probabilities(block.ln2(after_self), memory, model.shape.heads)[0])
        x, _ = block(x, memory)
    return np.asarray(torch.stack(seen).numpy(), np.float32)


def _median(attention: Array) -> Array:
    half = MEDIAN // 2
    padded = np.pad(attention, ((0, 0), (0, 0), (0, 0), (half, half)), mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN, -1), -1), np.float32)
