"""Every number a training run can be given, as frozen values, and where a run keeps its files.

Knows nothing of torch, so that the text and speech steps start fast.
"""

from pathlib import Path

import msgspec

SAMPLE_RATE = 16_000
ENCODER_STEP = 320
"""Samples per encoder frame, and per timestamp token (20 ms)."""
MEL_FRAMES_PER_HOUR = 360_000
LANGUAGES = ("en", "es", "de")
"""In the order of the shipped tokenizer."""
SHIPPED = Path(__file__).parents[1] / "streamasr" / "models" / "nano"
"""The embedded model: new editions keep its tokenizer."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a model. Heads are 32 wide."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int = 80

    @property
    def heads(self) -> int:
        """Attention heads of every layer."""
        return self.width // 32


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is trained. Shares are of the run's hours of audio, 0 to 1."""

    shape: Shape
    hours: float
    """Hours of audio in the windows of the whole run; the corpus is heard again and again."""
    cpu_frames: int = 8_000
    """Mel frames (10 ms) in a batch on a CPU …"""
    cuda_frames: int = 192_000
    """… and on a GPU."""
    muon_rate: float = 0.006
    """Learning rate of the matrices (Muon), at its highest."""
    adam_rate: float = 0.0015
    """Learning rate of everything else (AdamW), at its highest."""
    warmup_steps: int = 60
    hold: float = 0.45
    """The learning rate falls from here to the end."""
    easy_until: float = 0.15
    """Until here short, mostly clean, single utterances."""
    shifted_until: float = 0.25
    """Until here the encoder's positions begin at a random place, and no timestamps are asked for."""
    long_from: float = 0.40
    """From here on also windows of 15 to 30 s and padding out to 30 s."""
    frame_label_steps: int = 300
    """For so many steps the encoder is also told which letter each frame is."""


RECIPES = {
    "nano": Recipe(shape=Shape(width=192, encoder_layers=6, decoder_layers=3), hours=1_000),
    "mini": Recipe(
        shape=Shape(width=384, encoder_layers=8, decoder_layers=4),
        hours=2_000,
        muon_rate=0.004,
        adam_rate=0.001,
    ),
    "check": Recipe(
        shape=Shape(width=96, encoder_layers=2, decoder_layers=2),
        hours=0.5,
        cpu_frames=3_000,
        cuda_frames=3_000,
        warmup_steps=5,
        easy_until=1.0,
        shifted_until=0.0,
        long_from=1.0,
        frame_label_steps=60,
    ),
}
"""``nano`` is the embedded model's; ``mini`` was never trained; ``check`` only proves that the steps work."""


class Synthesis(msgspec.Struct, frozen=True, kw_only=True):
    """What speech to make."""

    hours: float = 60.0
    """Of the corpus, about: whole shards are made."""
    seed: int = 1
    flite_share: float = 0.2
    """Of the shards; flite speaks only English."""
    german: float = 0.1
    """Share of the espeak-ng utterances …"""
    spanish: float = 0.1
    """… and of these."""
    shard_utterances: int = 400


class Folder:
    """A run's files; every step finds what the one before left, and its own unfinished work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.corpus = root / "corpus"
        self.programs = root / "programs"
        self.tokenizer = root / "tokenizer.json"
        self.checkpoint = root / "checkpoint.pt"
        self.log = root / "train.jsonl"
