"""Figures of `gpu.py`: from the seconds of rounds to tables, and whether costs agree. Plain numbers, no GPU."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
from gpu_peers import TRAINERS

Array = np.ndarray[Any, Any]


def figures(seconds: list[float], batches: int, n_batches: int, n_networks: int) -> dict[str, Any]:
    """What rounds of `batches` batches of all networks say about an epoch of `n_batches`."""
    factor = n_batches / batches
    middle, least = median(seconds) * factor, min(seconds) * factor
    return {
        "rounds": seconds,
        "batches": batches,
        "scaled": batches != n_batches,
        "ms_per_epoch": 1e3 * middle,
        "fastest_ms_per_epoch": 1e3 * least,
        "network_epochs_per_second": n_networks / middle,
    }


def disagreement(costs: Array, first: Array, followed: Array, members: Array) -> float:
    """The largest relative difference of a mean cost; NaN where a cost is none.

    costs      (n_networks, n)       of a trainer
    first      (n_networks, few)     what the first ones must be
    followed   (n_followed, n_all)   what those of `members` must be, as far as there are any
    """
    n = min(costs.shape[1], followed.shape[1])
    pairs = (
        (costs[:, : first.shape[1]].mean(1), first.mean(1)),
        (costs[members, :n].mean(1), followed[:, :n].mean(1)),
    )
    return float(np.max([np.max(np.abs(ours / right - 1)) for ours, right in pairs]))


def batches_in(seconds: float, rounds: int, per_batch: float, n_batches: int, block: int) -> int:
    """Batches of a round, a multiple of `block`: an epoch, or what `rounds` rounds can do in `seconds`."""
    fit = int(seconds / rounds / max(per_batch, 1e-9))
    return n_batches if fit >= n_batches else max(1, fit // block) * block


def compare(entries: dict[str, dict[str, Any]]) -> None:
    """Give every figure its ratio to the best peer of the same precision as ours: above 1 it is faster."""
    times = {name: entry["ms_per_epoch"] for name, entry in entries.items() if "ms_per_epoch" in entry}
    peers = [name for name in times if TRAINERS[name].peer and TRAINERS[name].tolerance <= 1e-4]
    best = min(peers, key=times.__getitem__, default=None)
    for name in times:
        entries[name]["best_peer"] = best
        entries[name]["ratio"] = times[best] / times[name] if best else None


def table(result: dict[str, Any]) -> str:
    """A Markdown table of one number of networks and one batch size."""
    n = result["n_networks"]
    lines = [
        f"**{n:,} network{'s' * (n > 1)}, batch {result['batch_size']}**, "
        f"{result['samples']:,} samples of {result['data']}",
        "",
        "| trainer | network-epochs per second | ms per epoch | fastest | times the best peer | cost differs by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    entries = result["trainers"]
    for name, entry in sorted(entries.items(), key=lambda item: item[1].get("ms_per_epoch", 1e12)):
        title = f"{name} ({entry['detail']})" if entry.get("detail") else name
        off = f"{entry['cost_difference']:.0e}" if "cost_difference" in entry else ""
        if "ms_per_epoch" not in entry:
            lines.append(f"| {title} | | | | {entry['left_out']} | {off} |")
            continue
        star = f", from {entry['batches']:,} batches" * entry["scaled"]
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}"
        lines.append(
            f"| {title}{star} | {entry['network_epochs_per_second']:,.1f} | {entry['ms_per_epoch']:,.2f} "
            f"| {entry['fastest_ms_per_epoch']:,.2f} | {ratio} | {off} |"
        )
    return "\n".join(lines) + "\n"


def parts_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of what the parts of a run take."""
    lines = [
        "**Parts of a run of fastbp**",
        "",
        "| part | networks | batch | ms | fastest |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        where = f"| {row['part']} | {row['n_networks']:,} | {row['batch_size']} "
        if "left_out" in row:
            lines.append(f"{where}| {row['left_out']} | |")
        else:
            lines.append(f"{where}| {1e3 * row['seconds']:,.4f} | {1e3 * row['fastest']:,.4f} |")
    return "\n".join(lines) + "\n"


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of mean accuracies, in percent."""
    lines = [
        "**Test accuracy, mean of all seeds**, batch 32, as `fastbp train` sets everything else",
        "",
        "| epochs | seeds | here | on the CPU | differ by, points | seconds here | on the CPU, all cores |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "left_out" in row:
            lines.append(f"| {row['epochs']} | {row['seeds']} | {row['left_out']} | | | | |")
            continue
        lines.append(
            f"| {row['epochs']} | {row['seeds']} | {row['accuracy']:.3f} | {row['cpu_accuracy']:.3f} "
            f"| {row['difference']:+.3f}{' (too much)' * (not row['alike'])} | {row['seconds']:.2f} "
            f"| {row['cpu_seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"
