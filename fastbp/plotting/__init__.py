"""Pictures of runs: learning curves, and what the model makes of its test samples.

`plot_run` takes run folders and gives a Matplotlib figure; `fastbp plot` writes that as a file. `figures` lays out the
panels, `curves` and `panels` draw them, `style` holds colours, type and formats. Matplotlib is imported when a figure
is drawn, by way of its objects alone: no display, no pyplot, and settings of a user's own change nothing.
"""

from __future__ import annotations

from .figures import Drawing, draw, plot_run
from .style import check_format, file_bytes

__all__ = ["Drawing", "check_format", "draw", "file_bytes", "plot_run"]
