"""The command line, put together.

    fastbp train | eval MODEL | predict MODEL IMAGE... | inspect MODEL | explain [MODEL] | info [MODEL]
    fastbp data list, get, verify, show | export MODEL FILE | import WEIGHTS MODEL | report RUN [FILE]
    fastbp plot RUN... | compare RUN... | warmup | bench | doctor

Options that are settings come from the fields of `Config`, with their defaults, limits and help texts. NumPy, Numba
and rich are imported by the commands that need them, so that `fastbp --help` answers at once.
"""

from __future__ import annotations

import click

from . import __version__
from .commands.data import data
from .commands.explain import explain
from .commands.export import export, import_
from .commands.inspect import inspect
from .commands.machine import bench, doctor, warmup
from .commands.model import evaluate, info, predict
from .commands.report import report
from .commands.runs import compare, plot
from .commands.training import train

__all__ = ["cli"]

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=HELP)
@click.version_option(__version__, prog_name="fastbp", message="%(prog)s %(version)s")
def cli() -> None:
    """Train small neural networks by backpropagation, compiled for this machine.

    Begin with: fastbp train
    """


for command in (train, evaluate, predict, inspect, explain, report, plot, compare, data, info):
    cli.add_command(command)
for command in (export, import_, warmup, bench, doctor):
    cli.add_command(command)
