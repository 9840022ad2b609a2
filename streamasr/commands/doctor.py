"""``streamasr doctor``: what the server would meet on this machine, and what to do about it."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamasr.ops import config

if TYPE_CHECKING:
    from rich.console import Console

    from streamasr.ops.checks import Finding

ABOUT = """\
Tries everything the server needs from this machine with the settings it would have, from flags, environment and
file: devices, CUDA libraries, threads, a window of the model, voice activity, audio libraries, hub, disk, port.
Changes and downloads nothing. The exit code is 1 if something needed fails.
"""
MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings that matter here, and how to print."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for programs and reports")
    config.add_arguments(parser, only=("Network", "Model"))


def run(arguments: argparse.Namespace) -> int:
    """Examine and print; 1 if something needed failed."""
    settings = config.load(arguments, os.environ)
    from rich.console import Console

    from streamasr.ops import doctor

    errors = Console(stderr=True)
    findings = []
    with errors.status("examining this machine …") as status:
        for finding in doctor.examine(settings):
            findings.append(finding)
            status.update(f"examined: {finding.check}")
    if arguments.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        show(findings, Console(file=sys.stdout))
    return 1 if any(finding.status == "failed" for finding in findings) else 0


def show(findings: "Sequence[Finding]", console: "Console") -> None:
    """A table of all findings, and how many are bad."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("check", "", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        advice = f"\n[bold]→ {escape(finding.advice)}[/]" if finding.advice else ""
        table.add_row(escape(finding.check), MARKS[finding.status], escape(finding.found) + advice)
    console.print(table)
    failed, warned = (sum(f.status == status for f in findings) for status in ("failed", "warning"))
    console.print()
    if failed:
        console.print(f"{failed} of {len(findings)} checks failed, {warned} gave a warning.", highlight=False)
    elif warned:
        console.print(f"The server can run; {warned} of {len(findings)} checks gave a warning.", highlight=False)
    else:
        console.print("All is well.", highlight=False)
