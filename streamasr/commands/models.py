"""``streamasr models``: which there are, which one ``auto`` takes here, and getting one for a machine without network.

Owns what is printed; the choice and the download are in ``inference``.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamasr.ops import config

if TYPE_CHECKING:
    from streamasr.inference.catalog import Size
    from streamasr.inference.hub import Hub
    from streamasr.inference.sizing import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list`` (what happens without a word), ``download`` and ``verify``."""
    parser.set_defaults(action=_list, json=False)
    _add_json(parser)
    _add_placement(parser)
    actions = parser.add_subparsers(title="Actions", metavar="ACTION")
    about = "the models with a name, which of them are here, and which one auto takes on this machine"
    added = actions.add_parser("list", help=about, description=f"{about[0].upper()}{about[1:]}.")
    _add_json(added)
    _add_placement(added)
    added.set_defaults(action=_list)

    about = "fetch a model, whole and checked; what is here and spoilt is fetched again"
    added = actions.add_parser("download", help=about, description=f"{about[0].upper()}{about[1:]}.")
    added.add_argument("name", metavar="NAME[@REVISION]", help="a size, auto, or a hub's OWNER/NAME")
    text = "a directory for it, to be used as --model DIR without a network [the hub's cache]"
    added.add_argument("--to", metavar="DIR", type=Path, help=text)
    _add_placement(added)
    added.set_defaults(action=_download)

    about = "compare a downloaded directory with the checksums it came with"
    added = actions.add_parser("verify", help=about, description=f"{about[0].upper()}{about[1:]}.")
    added.add_argument("directory", metavar="DIR", type=Path)
    added.set_defaults(action=_verify)


def _add_json(parser: argparse.ArgumentParser) -> None:
    # No defaults here and below: an action's would undo what was said before its name.
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_placement(parser: argparse.ArgumentParser) -> None:
    """What decides, beside the machine, which model ``auto`` takes: the server's settings, from where it has them."""
    for option in config.options():
        if option.name in ("device", "compute_type"):
            text = f"{option.text} [{option.variable}]"
            parser.add_argument(
                option.flag, dest=option.name, default=argparse.SUPPRESS, metavar=option.metavar, help=text
            )
    text = f"the server's settings file [{config.FILE_VARIABLE}]"
    parser.add_argument("--config", default=argparse.SUPPRESS, metavar="FILE", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    code: int = arguments.action(arguments)
    return code


def _list(arguments: argparse.Namespace) -> int:
    from streamasr.commands.show import loading_shown
    from streamasr.inference import catalog, hardware, selection
    from streamasr.inference.hub import Hub

    settings = config.load(arguments, os.environ)
    hub = Hub()
    with loading_shown(quiet=arguments.json) as report:
        found = hardware.survey()
        placement = hardware.pick(found, device=settings.device, compute_type=settings.compute_type)
        on_cpu = placement if placement.device == "cpu" else hardware.pick(found, device="cpu")
        report("measuring this machine", None)
        nano_s = selection.measure_nano(on_cpu)
        choice = selection.choose_here(found, placement, cached=selection.in_cache(hub), nano_s=nano_s)
    rows = [_row(one, hub, nano_s) for one in catalog.SIZES]
    if arguments.json:
        print(json.dumps({"auto": {"model": choice.size.name, "reason": choice.reason}, "models": rows}, indent=1))
    else:
        _print(rows, choice, placement.device, str(hub.cache))
    return 0


def _row(size: "Size", hub: "Hub", nano_s: float) -> dict[str, Any]:
    from streamasr.inference import catalog, sizing

    path = hub.cached(size.repo) if size.repo else None
    return {
        "name": size.name,
        "aliases": [alias for alias, name in catalog.ALIASES.items() if name == size.name],
        "repository": size.repo or None,
        "megabytes": size.megabytes,
        "languages": list(size.languages),
        "translates": size.translates,
        "cached": str(path) if path else None,
        "real_time_factor_on_cpu": round(sizing.predict(size, nano_s), 3),
        "encoder_floor_s": size.encoder_floor_s,
        "encoder_margin_s": size.encoder_margin_s,
        "longest_window_s": size.longest_window_s,
        "measured": size.measured,
        "source": size.source,
    }


def _print(rows: list[dict[str, Any]], choice: "Choice", device: str, cache: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for title, justify in (("model", "left"), ("MB", "right"), ("languages", "left"), ("translates", "left")):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("busy, 1 stream", justify="right", no_wrap=True)
    table.add_column("settings", no_wrap=True)
    for row in rows:
        known = row["languages"]
        here = "built in" if row["repository"] is None else "cached" if row["cached"] else ""
        table.add_row(
            ">" if row["name"] == choice.size.name else "",
            " = ".join([row["name"], *row["aliases"]]),
            str(row["megabytes"]),
            ", ".join(known) if len(known) < 4 else f"{len(known)}",
            "yes" if row["translates"] else "",
            here,
            _busy(row["real_time_factor_on_cpu"]),
            "measured" if row["measured"] else "reported",
        )
    # Off a terminal nothing may be cut: what reads it has no width.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    running = "" if device == "cpu" else " (of the CPU; the GPU is faster)"
    lines = (
        f"auto takes {choice.size.name}: {choice.reason}.",
        f"busy, 1 stream: predicted share of time that one speaker keeps the CPU at work{running}.",
        "settings: how short the model's windows may be, measured by this project or taken from others' reports;",
        "  `streamasr bench AUDIO --sweep` measures it.",
        f"cached: in {cache}. Get one: streamasr models download NAME [--to DIR]",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _busy(factor: float) -> str:
    return f"{factor:.0%}" if factor < 10 else f"{factor:.0f} x"


def _download(arguments: argparse.Namespace) -> int:
    from streamasr.commands.show import loading_shown
    from streamasr.errors import ModelError
    from streamasr.inference import hardware, selection
    from streamasr.inference.hub import Hub

    settings = config.load(arguments, os.environ)
    spec = selection.parse(arguments.name)
    if spec.entry is not None:
        raise ModelError(f"model: {arguments.name} is on this machine already, in {spec.entry.path}")
    hub = Hub()
    with loading_shown() as report:
        if not spec.repo:
            found = hardware.survey()
            placement = hardware.pick(found, device=settings.device, compute_type=settings.compute_type)
            choice = selection.choose_here(found, placement, report, cached=selection.in_cache(hub))
            report(f"auto\nauto takes {choice.size.name}: {choice.reason}", None)
            spec = selection.sized(spec, choice.size)
        path = selection.download(spec, hub, report, to=arguments.to)
    print(f"{spec.name} is in {path}, its checksums are right; run it with: streamasr serve --model {path}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from streamasr.inference.manifest import verify

    problems = verify(arguments.directory)
    for problem in problems:
        print(f"streamasr: {arguments.directory}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{arguments.directory}: every file is what was downloaded")
    return 1 if problems else 0
