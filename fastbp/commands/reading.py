"""From the data options of a command to a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Dataset
    from ..progress import LiveView

__all__ = ["read_dataset"]


def read_dataset(options: dict[str, Any], view: LiveView, seed: int, target: str = "auto") -> Dataset:
    """Load what the data options name, showing how far it is."""
    from ..data import load_dataset
    from ..kernels import announce_compiling

    with announce_compiling(view.on_phase):
        return load_dataset(
            options["data"],
            label=options["label"],
            target=target,
            test_fraction=options["test_fraction"],
            seed=seed,
            data_dir=options["data_dir"],
            offline=options["offline"],
            progress=view.on_progress,
        )
