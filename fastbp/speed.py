"""What `fastbp warmup` and `fastbp bench` answer: facts as plain values for `--json`, and as tables for people.

In: what was compiled, how long epochs took. Out: dictionaries, and lines on stdout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .console import echo, printable, seconds, table

if TYPE_CHECKING:
    from .benchmark import Timing
    from .data import Dataset
    from .kernels import Preparation

__all__ = ["show_speed", "show_warmth", "speed_facts", "warmth_facts"]


def warmth_facts(prepared: Sequence[Preparation]) -> dict[str, Any]:
    """Kernels that were compiled or loaded, and the folder of their machine code; None where there is no such place."""
    from .kernels.jit import cache_folder

    compiled = [each for each in prepared if not each.from_cache]
    folder = cache_folder()
    return {
        "compiled": len(compiled),
        "loaded": len(prepared) - len(compiled),
        "seconds": sum(each.seconds for each in prepared),
        "cache": None if folder is None else str(folder),
        "kernels": [each._asdict() for each in prepared],
    }


def show_warmth(found: dict[str, Any]) -> None:
    """One row per kernel, then where they are."""
    totals: dict[tuple[str, bool], list[float]] = {}
    for each in found["kernels"]:
        totals.setdefault((each["kernel"], each["from_cache"]), []).append(each["seconds"])
    rows = [
        (name, "loaded" if from_cache else "compiled", str(len(times)), f"{sum(times):.2f}")
        for (name, from_cache), times in totals.items()
    ]
    if rows:
        table(("kernel", "was", "variants", "seconds"), rows, left=(0, 1))
        echo()
    echo(f"{found['compiled']} compiled, {found['loaded']} loaded, {seconds(found['seconds'])} s")
    place = found["cache"]
    echo(
        f"cache: {printable(place, 200)}" if place else "no place to keep them: set FASTBP_CACHE_DIR to your own folder"
    )


def speed_facts(timings: Sequence[Timing], data: Dataset, batch_size: int) -> dict[str, Any]:
    """The times with their ratios, the job, and the machine."""
    from .installation import machine_facts

    n, ours = len(data.x_train), timings[0].seconds
    return {
        "job": {"network": f"{data.n_features}-16-16-{data.n_classes}", "data": data.name, "samples": n,
                "batch_size": batch_size, "dtype": "float32"},
        "machine": machine_facts(),
        "results": [
            {"name": each.name, "title": each.title, "seconds": each.seconds, "samples_per_second": n / each.seconds,
             "ratio": each.seconds / ours, "rounds": list(each.rounds)}
            for each in timings
        ],
    }  # fmt: skip


def show_speed(found: dict[str, Any]) -> None:
    """One row for everyone who trained, then the job and the machine."""
    rows = [
        (each["title"], f"{1e3 * each['seconds']:.1f}", f"{each['samples_per_second']:,.0f}", f"{each['ratio']:.1f}")
        for each in found["results"]
    ]
    table(("one epoch", "ms", "samples/s", "times ours"), rows)
    job, machine = found["job"], found["machine"]
    echo()
    echo(
        f"{job['network']}, {job['dtype']}, {job['samples']:,} samples of {job['data']}, batch size "
        f"{job['batch_size']:,}, fastest of {len(found['results'][0]['rounds'])} rounds"
    )
    echo(f"{printable(machine['cpu'], 120)}, {machine['vector_bits']}-bit vectors, {machine['threads']} threads")
    echo(f"fastbp {machine['fastbp']}, numba {machine['numba']}, numpy {machine['numpy']}, Python {machine['python']}")
