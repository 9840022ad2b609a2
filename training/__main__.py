"""The command line of the training tool: one subcommand for each step. ``--help`` explains them."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from streamasr.errors import StreamASRError
from training.settings import LANGUAGES, RECIPES, SHIPPED, Folder, Synthesis


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step; 0, or 2 after one sentence saying what was wrong, or 130 when it was stopped."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (ValueError, OSError, StreamASRError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("training: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Make an embedded model.")
    steps = parser.add_subparsers(required=True, metavar="STEP")
    for add in (_add_synthesise, _add_train, _add_export, _add_evaluate, _add_check, _add_others):
        add(steps)
    return parser


class Steps(Protocol):
    """Where subcommands are added to."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002
        """A parser for one more."""


def _add_synthesise(steps: Steps) -> None:
    step = steps.add_parser("synthesise", help="make the speech corpus; goes on where it stopped")
    _work(step)
    step.add_argument("--hours", type=float, default=60.0, help="of speech (default 60)")
    step.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    step.add_argument("--seed", type=int, default=1, help="another seed makes another corpus beside it")
    step.add_argument(
        "--text", action="append", default=[], metavar="[LANG:]FILE", help="your own sentences, one a line"
    )
    step.add_argument(
        "--exclude", action="append", default=[], type=Path, metavar="FILE", help="never say these (.jsonl or text)"
    )
    step.set_defaults(run=_synthesise)


def _add_train(steps: Steps) -> None:
    step = steps.add_parser("train", help="train; goes on from the last checkpoint")
    _work(step)
    step.add_argument("--recipe", choices=[*RECIPES], default="nano")
    step.add_argument("--hours", type=float, help="of audio to hear in the whole run (default: the recipe's)")
    step.add_argument("--minutes", type=float, help="stop after so long, to go on another time")
    step.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    step.add_argument("--workers", type=int, help="processes that make windows (default 1; on a GPU one a core)")
    step.add_argument("--threads", type=int, default=1, help="torch's, on a CPU (default 1)")
    step.add_argument("--batch-frames", type=int, help="mel frames in a batch (default: the recipe's)")
    step.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on a GPU")
    step.add_argument("--init", type=Path, metavar="CHECKPOINT", help="begin with these weights")
    step.set_defaults(run=_train)


def _add_export(steps: Steps) -> None:
    step = steps.add_parser("export", help="write the model directory from the checkpoint")
    _work(step)
    step.add_argument("out", type=Path, metavar="OUT")
    step.add_argument("--checkpoint", type=Path, help="default: the run's")
    step.add_argument("--quantization", default="int8", help="as CTranslate2 names them (default int8)")
    step.set_defaults(run=_export)


def _add_evaluate(steps: Steps) -> None:
    step = steps.add_parser("evaluate", help="measure a model directory and print the table of goals")
    step.add_argument("model", nargs="?", type=Path, default=SHIPPED, help="default: the embedded model")
    step.add_argument("--eval", type=Path, required=True, metavar="DIR", help="the recordings, with manifest.jsonl")
    step.add_argument("--threads", type=int, default=1)
    step.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    step.add_argument("--beside", type=Path, metavar="FILE", help="another edition's figures, from --json")
    step.add_argument("--listen", type=Path, nargs="*", default=[], help="also print what it hears in these")
    step.set_defaults(run=_evaluate)


def _add_check(steps: Steps) -> None:
    step = steps.add_parser("check", help="two minutes: every step works and the loss falls")
    step.add_argument("--work", type=Path, help="default: a temporary folder")
    step.set_defaults(run=_check)


def _add_others(steps: Steps) -> None:
    step = steps.add_parser("tokenizer", help="learn a new vocabulary, before training from scratch")
    _work(step)
    step.set_defaults(run=_tokenizer)
    step = steps.add_parser("fingerprints", help="print the fingerprints of an evaluation set's sentences")
    step.add_argument("manifest", type=Path)
    step.set_defaults(run=_fingerprints)


def _work(step: argparse.ArgumentParser) -> None:
    step.add_argument("--work", type=Path, required=True, help="the run's folder; every step uses the same")


def _folder(chosen: argparse.Namespace) -> Folder:
    folder = Folder(chosen.work)
    folder.root.mkdir(parents=True, exist_ok=True)
    return folder


def own_text(argument: str) -> tuple[str, Path]:
    """``de:FILE`` or, in English, ``FILE``.

    Raises:
        ValueError: there is no such language.
    """
    language, colon, path = argument.partition(":")
    if not colon or len(language) != 2:
        return "en", Path(argument)
    if language not in LANGUAGES:
        raise ValueError(f"--text: there are no voices for {language!r}, only for {', '.join(LANGUAGES)}")
    return language, Path(path)


def _synthesise(chosen: argparse.Namespace) -> None:
    from training.speech.synthesise import synthesise

    settings = Synthesis(hours=chosen.hours, seed=chosen.seed)
    own = [own_text(argument) for argument in chosen.text]
    seconds = synthesise(_folder(chosen), settings, own, chosen.exclude, chosen.processes)
    print(f"{seconds / 3600:.2f} hours of speech in {chosen.work}")


def _train(chosen: argparse.Namespace) -> None:
    from training.train import Options, train

    recipe = RECIPES[chosen.recipe]
    if chosen.hours is not None:
        recipe = msgspec.structs.replace(recipe, hours=chosen.hours)
    options = Options(
        device=chosen.device,
        minutes=chosen.minutes,
        workers=chosen.workers,
        threads=chosen.threads,
        compiled=chosen.compile,
        batch_frames=chosen.batch_frames,
    )
    reached = train(_folder(chosen), recipe, options, chosen.init)
    done = reached.hours >= recipe.hours
    ending = "complete" if done else "the same command goes on"
    print(f"step {reached.step}, {reached.hours:.2f} of {recipe.hours:g} hours heard: {ending}")


def _export(chosen: argparse.Namespace) -> None:
    from training import checkpoint
    from training.export import export
    from training.heads import choose_heads
    from training.tokenizer import Tokens
    from training.windows.corpus import Corpus

    folder = _folder(chosen)
    model = checkpoint.read(chosen.checkpoint or folder.checkpoint).model()
    tokenizer = folder.tokenizer if folder.tokenizer.exists() else SHIPPED / "tokenizer.json"
    heads = choose_heads(model, Tokens(tokenizer), Corpus(folder.corpus))
    size = export(model, tokenizer, chosen.out, chosen.quantization, heads)
    print(f"{chosen.out}: {size / 1e6:.1f} MB, word times from heads {heads}")


def _evaluate(chosen: argparse.Namespace) -> None:
    from training.evaluation.evaluate import evaluate, listen
    from training.evaluation.table import markdown

    report = evaluate(chosen.model, chosen.eval, chosen.threads)
    columns = [(chosen.model.name, report)]
    if chosen.beside is not None:
        columns.append((chosen.beside.stem, msgspec.json.decode(chosen.beside.read_bytes(), type=dict[str, float])))
    print(markdown(columns))
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    for path, text in listen(chosen.model, chosen.listen, chosen.threads):
        print(f"{path}: {text}")


def _check(chosen: argparse.Namespace) -> None:
    from training.check import check

    print(check(chosen.work))


def _tokenizer(chosen: argparse.Namespace) -> None:
    from training.tokenizer import learn
    from training.windows.corpus import Corpus

    folder = _folder(chosen)
    texts = [" ".join(entry.utterance.words) for entry in Corpus(folder.corpus).entries]
    learn(texts, LANGUAGES, folder.tokenizer)
    print(f"{folder.tokenizer}: learned from {len(texts)} utterances")


def _fingerprints(chosen: argparse.Namespace) -> None:
    from training.text.pool import fingerprints, read_texts

    print("\n".join(fingerprints(read_texts(chosen.manifest))))


if __name__ == "__main__":
    sys.exit(main())
