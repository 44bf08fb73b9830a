"""Commands about this machine: doctor, warmup, bench."""

from __future__ import annotations

from typing import Any

import click

from ..options import SectionedCommand, option, output_options

__all__ = ["bench", "doctor", "warmup"]


@click.command(short_help="Is this installation healthy? If not, what to do.")
@output_options
def doctor(quiet: bool, as_json: bool) -> int:
    """Is this installation healthy? Looks at everything, trains a tiny network, and says what to do.

    Takes about half a second, and ten where kernels have to be compiled. Exit code 1 where something is a problem.
    """
    from ..console import print_json
    from ..doctor import doctor_facts, examine, show_findings
    from ..progress import LiveView

    with LiveView(quiet) as view:
        findings = list(examine(view.on_phase))
    found = doctor_facts(findings)
    print_json(found) if as_json else show_findings(findings)
    return 0 if found["healthy"] else 1


@click.command(short_help="Compile all kernels now, so that no later run has to.")
@output_options
def warmup(quiet: bool, as_json: bool) -> None:
    """Compile all kernels now, so that no later run has to: for images of machines, and after an upgrade.

    Takes about 40 seconds, and nothing where they are compiled already.
    """
    from ..console import print_json
    from ..kernels import warm_up
    from ..progress import LiveView
    from ..speed import show_warmth, warmth_facts

    with LiveView(quiet) as view:
        found = warmth_facts(warm_up(lambda kernel: view.on_phase(f"compiling {kernel}")))
    print_json(found) if as_json else show_warmth(found)


@click.command(cls=SectionedCommand, short_help="How fast this machine trains, by each engine.")
@option("--seconds", type=click.FloatRange(0, 3600), default=10.0, show_default=True, help="rounds go on for so long")
@option("--batch-size", type=click.IntRange(1, 60_000), default=32, show_default=True, help="samples per step")
@output_options
def bench(seconds: float, batch_size: int, **options: Any) -> None:
    """How fast this machine trains 784-16-16-10 on the built-in digits, by each engine, and by scikit-learn if here."""
    from ..benchmark import measure
    from ..console import print_json
    from ..data import load_dataset
    from ..progress import LiveView
    from ..speed import show_speed, speed_facts

    with LiveView(options["quiet"]) as view:
        digits = load_dataset(progress=view.on_progress)
        timings = measure(digits, batch_size=batch_size, seconds=seconds, progress=view.on_progress)
    found = speed_facts(timings, digits, batch_size)
    print_json(found) if options["as_json"] else show_speed(found)
