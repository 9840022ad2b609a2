"""The training step of a run: from a corpus, or from where it stopped, to a checkpoint.

A run is measured in hours of audio heard, not in time, so it is the same run on any machine and however many
pieces it is done in.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch
from torch import nn

from training import checkpoint
from training.checkpoint import Checkpoint
from training.device import bfloat16_pays, choose_device, compile_blocks
from training.loader import Windows, load
from training.losses import Losses, Tensors, losses, weights
from training.model import Model, is_matrix
from training.muon import Muon
from training.progress import Bar, progress_bar
from training.settings import MEL_FRAMES_PER_HOUR, SHIPPED, Folder, Recipe
from training.tokenizer import Tokens
from training.windows.corpus import Corpus

LOG_STEPS = 5
SAVE_S = 120.0
LOWEST_RATE = 0.01
"""Share of the highest learning rate at the very end."""
SHIFTED = 0.9


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a piece of a run is done; none of it changes what the run is."""

    device: str = "auto"
    minutes: float | None = None
    """Stop after so long, to go on another time."""
    workers: int | None = None
    """Processes that make windows; 0 makes them in this one. None: one on a CPU, all cores beside a GPU."""
    threads: int = 1
    """Torch's, on a CPU."""
    compiled: bool | None = None
    """None: on a GPU."""
    batch_frames: int | None = None
    """None: the recipe's."""


class Trainer:
    """One run's model and optimisers."""

    def __init__(self, recipe: Recipe, vocabulary: int, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.model = Model(recipe.shape, vocabulary).to(device)
        named = list(self.model.named_parameters())
        self._rest = [p for name, p in named if not is_matrix(name, p)]
        self._half = bfloat16_pays(device)
        self._muon = Muon(
            [p for name, p in named if is_matrix(name, p)],
            recipe.muon_rate,
            dtype=torch.bfloat16 if self._half else torch.float32,
        )
        self._adam = torch.optim.AdamW(
            self._rest, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=device.type == "cuda"
        )
        self._average = {name: p.detach().clone() for name, p in named}
        self.step, self.frames = 0, 0

    @property
    def progress(self) -> float:
        """How far the run has come, 0 to 1."""
        return min(1.0, self.frames / (self.recipe.hours * MEL_FRAMES_PER_HOUR))

    def learn(self, batch: Tensors) -> Losses:
        """One step."""
        progress, recipe = self.progress, self.recipe
        self.model.train()
        self.model.shifted = SHIFTED if progress < recipe.shifted_until else 0.0
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half):
            found = losses(self.model, batch, weights(progress, self.step, recipe.frame_label_steps))
        torch.autograd.backward(found.total)
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if torch.isfinite(norm):  # a step that overflowed is left out
            nn.utils.clip_grad_norm_(self._rest, 1.0)
            scale = self.rate_scale()
            for group in self._adam.param_groups:
                group["lr"] = recipe.adam_rate * scale
            self._muon.step(scale)
            self._adam.step()
            self._follow()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.frames += batch.mel.shape[0] * batch.mel.shape[2]
        return found

    def rate_scale(self) -> float:
        """The share of the highest learning rate: up, held, and down to the end."""
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        left = (1 - self.progress) / (1 - self.recipe.hold)
        return warm * min(1.0, max(LOWEST_RATE, left))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average after the weights."""
        share = 1 - min(0.998, (self.step + 1) / (self.step + 20))
        for name, parameter in self.model.named_parameters():
            self._average[name].lerp_(parameter, share)

    def checkpoint(self) -> Checkpoint:
        """Where the run stands."""
        return Checkpoint(
            shape=self.recipe.shape,
            vocabulary=self.model.vocabulary,
            weights=self.model.state_dict(),
            average=self._average,
            step=self.step,
            frames=self.frames,
            optimisers={"muon": self._muon.state(), "adam": self._adam.state_dict()},
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from there."""
        self.begin_with(saved)
        if saved.optimisers is not None:
            self._muon.restore(saved.optimisers["muon"])
            self._adam.load_state_dict(saved.optimisers["adam"])
        self.step, self.frames = saved.step, saved.frames

    def begin_with(self, saved: Checkpoint) -> None:
        """Take over the weights only.

        Raises:
            ValueError: they are another model's.
        """
        if saved.shape != self.recipe.shape or saved.vocabulary != self.model.vocabulary:
            raise ValueError(f"the checkpoint is of {saved.shape}, the recipe is for {self.recipe.shape}")
        self.model.load_state_dict({name: weight.float() for name, weight in saved.weights.items()})
        for name, weight in saved.average.items():
            self._average[name].copy_(weight)


def train(folder: Folder, recipe: Recipe, options: Options, init: Path | None = None) -> Checkpoint:
    """Train until the run is complete or its time is over; returns where it stands.

    ``init`` begins a new run with these weights; it then skips what only a newborn model needs.

    Raises:
        ValueError: no speech, no such device, or a checkpoint of another model.
    """
    device = choose_device(options.device)
    Corpus(folder.corpus)  # complains here, not in another process
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    if init is not None:
        recipe = msgspec.structs.replace(recipe, easy_until=0.0, shifted_until=0.0, long_from=0.0, frame_label_steps=0)
    if not folder.tokenizer.exists():
        shutil.copyfile(SHIPPED / "tokenizer.json", folder.tokenizer)
    trainer = Trainer(recipe, Tokens(folder.tokenizer).size, device)
    if folder.checkpoint.exists():
        trainer.restore(checkpoint.read(folder.checkpoint, device))
    elif init is not None:
        trainer.begin_with(checkpoint.read(init, device))
    on_gpu = device.type == "cuda"
    most = options.batch_frames or (recipe.cuda_frames if on_gpu else recipe.cpu_frames)
    workers = (max(1, (os.cpu_count() or 1) - 1) if on_gpu else 1) if options.workers is None else options.workers
    if on_gpu if options.compiled is None else options.compiled:
        compile_blocks(trainer.model)
    windows = Windows(folder.corpus, folder.tokenizer, recipe, most, seed=17 + trainer.step)
    windows.set_progress(trainer.progress)
    _forget_after(folder.log, trainer.step)
    if trainer.progress < 1:
        _go_on(trainer, windows, load(windows, workers, device), folder, options.minutes)
    return trainer.checkpoint()


def _go_on(
    trainer: Trainer, windows: Windows, batches: Iterator[Tensors], folder: Folder, minutes: float | None
) -> None:
    """Steps until the run is complete or the minutes are over, with checkpoints on the way."""
    stop_at = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    save_at = time.monotonic() + SAVE_S
    recent: list[Losses] = []
    with progress_bar("train", 1.0, trainer.progress) as bar, folder.log.open("a", encoding="utf-8") as log:
        for batch in batches:
            recent.append(trainer.learn(batch))
            windows.set_progress(trainer.progress)
            over = trainer.progress >= 1 or time.monotonic() >= stop_at
            if len(recent) == LOG_STEPS or over:
                log.write(json.dumps(_report(trainer, recent, bar)) + "\n")
                recent = []
            if over or time.monotonic() >= save_at:
                log.flush()
                checkpoint.write(folder.checkpoint, trainer.checkpoint())
                save_at = time.monotonic() + SAVE_S
            if over:
                return


def _report(trainer: Trainer, recent: Sequence[Losses], bar: Bar) -> dict[str, float]:
    """The means of some steps, for the log and the bar."""
    names = Losses._fields
    means = torch.stack([torch.stack([torch.as_tensor(x).detach().float() for x in row]) for row in recent])
    report = dict(zip(names, (round(x, 4) for x in means.mean(0).tolist()), strict=True))
    bar(trainer.progress, f"step {trainer.step} text {report['text']:.3f} right {report['accuracy']:.2f}")
    hours = trainer.frames / MEL_FRAMES_PER_HOUR
    return {"step": trainer.step, "hours": round(hours, 4), "rate": trainer.rate_scale(), **report}


def _forget_after(log: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint."""
    if log.exists():
        kept = [line for line in log.read_text("utf-8").splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in kept), "utf-8")


def read_log(log: Path) -> list[dict[str, float]]:
    """The run's losses: one row for every few steps."""
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]
