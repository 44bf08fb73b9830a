"""What a person sees on stderr while data is loaded and a network trains: a header, one row per epoch, a moving bar.

Records and counts come in, text goes out: in colours and with a bar on a terminal; as plain aligned lines into
a file or a pipe, and where NO_COLOR or TERM=dumb ask for it. A reader that has gone away (a closed pipe, a lost
terminal) never stops a training run.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import interrupts
from .console import decimals, fancy, percent, printable, styled, write

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from .metrics import EpochRecord
    from .result import TrainingResult

__all__ = ["LiveView"]

BETWEEN_UPDATES = 0.1  # seconds: ten times a second is what an eye can follow
BEFORE_BAR = 0.3  # a run that is over sooner needs no bar, and rich takes 0.1 s to import


class LiveView:
    """What a person sees on stderr while data is loaded and a network trains.

    It has the methods of `fastbp.callbacks.Callback`, and `on_progress` for `load_dataset`. Use it in a `with`
    statement: the bar is gone afterwards.

    Parameters
    ----------
    quiet : bool
        show nothing at all
    data_name : str
        for the header
    """

    def __init__(self, quiet: bool = False, data_name: str = "") -> None:
        self.data_name = data_name
        self._stream = None if quiet else sys.stderr
        self._moving = fancy(self._stream)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last_text = ""
        self._begun = self._updated = perf_counter()
        self._n_epochs = 0
        self._has_results = self._validates = False
        self._waiting: list[str] = []

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # else what is left, saving and showing the result, is a matter of milliseconds
            interrupts.let_go()
        self._flush()
        self._stop()
        if self._moving and self._n_epochs and kind is None:
            self._line("")

    def on_progress(self, text: str, done: int, total: int | None) -> None:
        """Loading: `done` of `total` bytes or images, total None where nobody knows it."""
        interrupts.check()
        if text != self._last_text:
            self._last_text = text
            self._stop()
            if not self._moving:
                self._line(text)
        self._move(text, done, total)

    def on_phase(self, text: str) -> None:
        """Something that takes a while begins, such as compiling."""
        interrupts.check()
        self._stop()
        self._line(text, dim=True)

    def on_start(self, plan: Any) -> None:
        """Training begins: say on what, and with what. From here on, Ctrl-C is heard in `on_batches`."""
        interrupts.check()
        interrupts.hold()
        self._stop()
        config, network = plan.config, plan.network
        self._n_epochs = config.epochs
        self._validates = plan.n_validation > 0
        parts = [plan.n_train, plan.n_validation, plan.n_test] if self._validates else [plan.n_train, plan.n_test]
        samples = f"{' + '.join(f'{n:,}' for n in parts)} samples of {network.sizes[0]:,} numbers"
        activations = dict.fromkeys(network.activations[:-1])
        batch = "all samples" if config.batch_size is None else f"batch size {config.batch_size:,}"
        changing = {"linear": " to 0", "constant": ""}.get(config.schedule, f" ({config.schedule})")
        rate = "" if config.learning_rate is None else f"learning rate {config.learning_rate:g}{changing}, "
        for name, text in (
            ("data", f"{printable(self.data_name)}: {samples}, {100 * plan.density:.1f} % nonzero"),
            (
                "network",
                f"{network}, {plan.n_parameters:,} parameters, "
                f"{', '.join([*activations, network.activations[-1]])}, {network.cost}",
            ),
            (
                "training",
                f"{plan.engine}, {config.optimizer}, {rate}{batch}",
            ),
        ):
            self._line(f"{name:<9} {text}")
        if self._validates:  # the number of samples per second makes room
            names: tuple[str, ...] = ("loss", "train", "val loss", "val", "test", "rate", "seconds")
        else:
            names = ("loss", "train", "test", "rate", "seconds", f"{'samples/s':>12}")
        if plan.is_over:
            self._line("this run is over; its model is measured again", dim=True)
            return
        if plan.history:
            self._line(f"goes on after epoch {plan.history[-1].epoch} of {config.epochs}", dim=True)
        self._line(" ".join([f"{'epoch':>7}", *(f"{name:>9}" for name in names)]), bold=True)
        self._begun = perf_counter()

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Some batches of an epoch are done."""
        interrupts.check()
        if self._moving:
            share = epoch - 1 + done / max(total, 1)
            self._move(f"epoch {epoch} of {self._n_epochs}, loss {loss:.4g}", share, self._n_epochs)

    def on_epoch(self, record: EpochRecord) -> None:
        """One row of the table."""
        cells = [decimals(record.loss), percent(record.train_accuracy), percent(record.test_accuracy)]
        cells += [decimals(record.learning_rate), f"{record.seconds:.3f}"]
        if self._validates:
            cells[2:2] = [decimals(record.validation_loss or 0.0), percent(record.validation_accuracy)]
        else:
            cells.append(f"{record.samples_per_second:>12,.0f}")
        self._waiting.append(" ".join([f"{record.epoch:>7}", *(f"{cell:>9}" for cell in cells)]))
        if perf_counter() - self._updated >= BETWEEN_UPDATES or record.epoch >= self._n_epochs:
            self._flush()

    def on_diverged(self, epoch: int) -> None:
        """The error that follows says it."""

    def on_restored(self, epoch: int, rate: float) -> None:
        """An epoch diverged and begins again."""
        self._flush()
        self._line(f"epoch {epoch} diverged and begins again, with half the learning rate: {rate:g}")

    def on_end(self, reason: str) -> None:
        """Print the rows that wait."""
        self._flush()

    def on_result(self, number: int, result: TrainingResult) -> None:
        """One of many networks is done."""
        interrupts.check()
        if not self._has_results:
            self._stop()
            self._has_results = True
            self._line(f"network   {result.model.network}, {result.engine}")
            self._line(f"{'seed':>7} {'loss':>9} {'train':>9} {'test':>9} {'seconds':>9}", bold=True)
        cells = (decimals(result.loss), percent(result.train_accuracy), percent(result.test_accuracy))
        cells_text = " ".join(f"{cell:>9}" for cell in (*cells, decimals(result.train_seconds)))
        ended = "" if result.stopped in ("epochs", "patience", "stop_below", "converged") else f"  {result.stopped}"
        self._line(f"{result.seed:>7} {cells_text}{ended}")

    def _flush(self) -> None:
        """Print the rows that wait."""
        if self._waiting:
            self._updated = perf_counter()
            self._line("\n".join(self._waiting))
            self._waiting.clear()

    def _line(self, text: str, **style: Any) -> None:
        """A line that stays, above the bar where there is one."""
        if self._progress is not None:
            from rich.text import Text

            self._progress.console.print(Text(text))
        elif not write(self._stream, styled(text, self._stream, **style) + "\n"):
            self._stream, self._moving = None, False

    def _move(self, text: str, done: float, total: float | None) -> None:
        """Bring the bar up to date, at most ten times a second."""
        now = perf_counter()
        if not self._moving or now - self._updated < BETWEEN_UPDATES or now - self._begun < BEFORE_BAR:
            return
        self._flush()
        self._updated = now
        try:
            if self._progress is None:
                self._progress = _bar()
                self._progress.start()
                self._task = self._progress.add_task(text, total=total, completed=int(done))
            assert self._task is not None
            self._progress.update(self._task, description=printable(text, 40), completed=done, total=total)
            self._progress.refresh()
        except OSError:
            self._stream, self._moving, self._progress = None, False, None

    def _stop(self) -> None:
        """Take the bar away."""
        progress, self._progress = self._progress, None
        if progress is not None:
            try:
                progress.stop()
            except OSError:
                self._stream, self._moving = None, False


def _bar() -> Progress:
    """A bar that moves when it is told to and leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
