"""``streamasr models``: which there are, which one ``auto`` takes here, and getting one for a machine without network.

Owns what is printed; the choice and the download are in ``inference``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamasr.inference.catalog import Size
    from streamasr.inference.hub import Hub


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list`` (what happens without a word), ``download`` and ``verify``."""
    parser.set_defaults(action=_list, json=False)
    actions = parser.add_subparsers(title="Actions", metavar="ACTION")
    about = "the models with a name, which of them are here, and which one auto takes on this machine"
    added = actions.add_parser("list", help=about, description=f"{about[0].upper()}{about[1:]}.")
    added.add_argument("--json", action="store_true", help="print JSON")
    added.set_defaults(action=_list)

    about = "fetch a model, whole and checked"
    added = actions.add_parser("download", help=about, description=f"{about[0].upper()}{about[1:]}.")
    added.add_argument("name", metavar="NAME[@REVISION]", help="a size, auto, or a hub's OWNER/NAME")
    text = "a directory for it, to be used as --model DIR without a network [the hub's cache]"
    added.add_argument("--to", metavar="DIR", type=Path, help=text)
    added.set_defaults(action=_download)

    about = "compare a downloaded directory with the checksums it came with"
    added = actions.add_parser("verify", help=about, description=f"{about[0].upper()}{about[1:]}.")
    added.add_argument("directory", metavar="DIR", type=Path)
    added.set_defaults(action=_verify)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    code: int = arguments.action(arguments)
    return code


def _list(arguments: argparse.Namespace) -> int:
    from streamasr.commands.show import loading_shown
    from streamasr.inference import catalog, hardware, selection
    from streamasr.inference.hub import Hub

    with loading_shown(quiet=arguments.json) as report:
        found = hardware.survey()
        placement = hardware.pick(found)
        on_cpu = hardware.pick(found, device="cpu")
        report("measuring this machine", None)
        nano_s = selection.measure_nano(on_cpu)
        size, reason = selection.choose_here(found, placement, nano_s=nano_s)
    hub = Hub()
    rows = [_row(one, hub, nano_s) for one in catalog.SIZES]
    if arguments.json:
        print(json.dumps({"auto": {"model": size.name, "reason": reason}, "models": rows}, indent=1))
    else:
        _print(rows, size.name, reason, placement.device, str(hub.cache))
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


def _print(rows: list[dict[str, Any]], auto: str, reason: str, device: str, cache: str) -> None:
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
            ">" if row["name"] == auto else "",
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
        f"auto takes {reason}.",
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

    spec = selection.parse(arguments.name)
    if spec.entry is not None:
        raise ModelError(f"model: {arguments.name} is on this machine already, in {spec.entry.path}")
    hub = Hub()
    with loading_shown() as report:
        if not spec.repo:
            found = hardware.survey()
            size, reason = selection.choose_here(found, hardware.pick(found), report)
            report(f"auto\nauto takes {reason}", None)
            spec = selection.parse(size.name)
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
