"""What a person sees on stderr while data is loaded and a network trains: a header, one row per epoch, a moving bar.

Records and counts come in, text goes out: in colours and with a bar on a terminal; as plain aligned lines into
a file or a pipe, and where TERM=dumb asks for it; NO_COLOR takes the colours away. A reader that has gone away (a
closed pipe, a lost terminal) never stops a training run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from . import interrupts
from .bar import Bar, Pace
from .console import clock, columns_of, decimals, fancy, folded, percent, printable, styled

if TYPE_CHECKING:
    from .metrics import EpochRecord
    from .result import TrainingResult

__all__ = ["LiveView"]

BETWEEN_UPDATES = 0.2  # seconds. An update finds cold caches and takes 0.3 ms: ten a second would be 0.4 % of the time
BEFORE_BAR = 0.3  # seconds: what is over sooner needs no bar
MOST_ROWS = 200  # on a terminal; longer runs get a row a second there, so that the header stays in reach
BETWEEN_ROWS = 1.0  # seconds


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
        self._n_results = 0  # of `on_result`, where somebody knows it
        self._stream = None if quiet else sys.stderr
        self._moving = fancy(self._stream)
        self._bar = Bar(self._stream)
        self._last_text = ""
        self._begun = self._updated = perf_counter()
        self._pace, self._work = Pace(), Pace()  # shares of all, and samples, per second
        self._trained = self._went_on = 0.0  # seconds of training, without those of measuring; until when
        self._speed: float | None = None  # samples per second
        self._ends = math.inf
        self._n_epochs = self._n_train = self._done = 0
        self._validates = False
        self._columns = 7  # of the table
        self._waiting: list[str] = []
        self._left_out = ""  # the last row, if it is not printed
        self._row_at = -math.inf

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # else what is left, saving and showing the result, is a matter of milliseconds
            interrupts.let_go()
        self._finish_rows()
        if self._moving and self._n_epochs and kind is None:
            self._line("")

    def on_progress(self, text: str, done: int, total: int | None) -> None:
        """Loading: `done` of `total` bytes or images, total None where nobody knows it."""
        interrupts.check()
        if text != self._last_text:
            self._last_text = text
            self._pace = Pace()
            if not self._moving:
                self._line(text)
        self._move(printable(text, 60), done / total if total else None)

    def on_phase(self, text: str) -> None:
        """Something that takes a while begins, such as compiling."""
        interrupts.check()
        self._wipe()
        self._note(text)

    def on_start(self, plan: Any) -> None:
        """Training begins: say on what, and with what. From here on, Ctrl-C is heard in `on_batches`."""
        interrupts.check()
        interrupts.hold()
        self._wipe()
        config, network = plan.config, plan.network
        self._n_epochs, self._n_train = config.epochs, plan.n_train
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
            self._fact(name, text)
        if plan.is_over:
            longer = "; --epochs N makes it longer" if len(plan.history) >= config.epochs else ""
            self._note(f"this run is over, and its model is measured again{longer}")
            return
        if plan.history:
            self._note(f"goes on after epoch {plan.history[-1].epoch:,} of {config.epochs:,}")
        if self._is_long:
            self._note("a row a second is shown here; the file of --log, or a run folder, has all of them")
        if self._validates:  # the number of samples per second makes room
            names: tuple[str, ...] = ("loss", "train", "val loss", "val", "test", "rate", "seconds")
        else:
            names = ("loss", "train", "test", "rate", "seconds", f"{'samples/s':>12}")
        if self._moving:
            self._columns = max(1, (columns_of(self._stream) - 8) // 10)
        self._line(self._row("epoch", names), bold=True)
        self._pace, self._work = Pace(), Pace()
        self._begun = self._went_on = perf_counter()
        if config.time_limit is not None and not plan.history:
            self._ends = self._begun + config.time_limit

    def on_batches(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Some batches of an epoch are done. After the last of them, `on_epoch` has more to show."""
        interrupts.check()
        now = perf_counter()
        self._trained, self._went_on = self._trained + now - self._went_on, now
        share = epoch - 1 + done / max(total, 1)
        self._speed = self._work.heard(self._trained, share * self._n_train)
        if done < total:
            self._move_to(epoch, share, loss)

    def on_epoch(self, record: EpochRecord) -> None:
        """One row of the table."""
        cells = [decimals(record.loss), percent(record.train_accuracy), percent(record.test_accuracy)]
        cells += [decimals(record.learning_rate), f"{record.seconds:.3f}"]
        if self._validates:
            cells[2:2] = [decimals(record.validation_loss or 0.0), percent(record.validation_accuracy)]
        else:
            cells.append(f"{record.samples_per_second:>12,.0f}")
        self._left_out, now = self._row(str(record.epoch), cells), perf_counter()
        if record.epoch >= self._n_epochs or not self._is_long or now - self._row_at >= BETWEEN_ROWS:
            self._waiting.append(self._left_out)
            self._left_out, self._row_at = "", now
        self._move_to(record.epoch, record.epoch, record.loss)
        self._went_on = perf_counter()

    def on_diverged(self, epoch: int) -> None:
        """The error that follows says it."""

    def on_restored(self, epoch: int, rate: float) -> None:
        """An epoch diverged and begins again."""
        self._flush()
        self._line(f"epoch {epoch} diverged and begins again, with half the learning rate: {rate:g}")
        self._pace, self._work = Pace(), Pace()

    def on_end(self, reason: str) -> None:
        """Print the rows that wait, and take the bar away."""
        self._finish_rows()

    def expect(self, n_results: int, n_epochs: int) -> None:
        """So many networks will be trained, of which nothing is heard before the first is done."""
        self._n_results = n_results
        self._fact("data", printable(self.data_name))
        networks = "network" if n_results == 1 else "networks"
        self._fact("training", f"{n_results:,} {networks} side by side, {n_epochs:,} epochs each")

    def on_result(self, number: int, result: TrainingResult) -> None:
        """One of many networks is done."""
        interrupts.check()
        if not self._done:
            self._wipe()
            self._fact("network", f"{result.model.network}, {result.engine}")
            self._line(f"{'seed':>7} {'loss':>9} {'train':>9} {'test':>9} {'seconds':>9}", bold=True)
        cells = (decimals(result.loss), percent(result.train_accuracy), percent(result.test_accuracy))
        cells_text = " ".join(f"{cell:>9}" for cell in (*cells, decimals(result.train_seconds)))
        ended = "" if result.stopped in ("epochs", "patience", "stop_below", "converged") else f"  {result.stopped}"
        self._line(f"{result.seed:>7} {cells_text}{ended}")
        self._done += 1
        if 0 < self._done < self._n_results:
            self._move(f"network {self._done + 1} of {self._n_results}", self._done / self._n_results)

    def _move_to(self, epoch: int, share: float, loss: float) -> None:
        """Show that the run is at this epoch; `share` is 2.5 in the middle of the third."""
        text = f"epoch {epoch:>{len(str(self._n_epochs))}} of {self._n_epochs}, loss {decimals(loss)}"
        self._move(text, share / self._n_epochs, f"{self._speed:,.0f} samples/s" if self._speed else "")

    @property
    def _is_long(self) -> bool:
        """True where a row for each epoch would be too many for a terminal."""
        return self._moving and self._n_epochs > MOST_ROWS

    def _row(self, epoch: str, cells: Sequence[str]) -> str:
        """A line of the table: as many cells as the terminal has room for."""
        return " ".join([f"{epoch:>7}", *(f"{cell:>9}" for cell in cells[: self._columns])])

    def _note(self, text: str) -> None:
        """A remark, folded on a terminal."""
        self._line("\n".join(folded(text, self._stream, 1000)), dim=True)

    def _fact(self, name: str, text: str) -> None:
        """A line of the header; folded on a terminal."""
        first, *more = folded(text, self._stream, 1000, 10)
        self._line("\n".join([f"{name:<9} {first}", *(" " * 10 + line for line in more)]))

    def _finish_rows(self) -> None:
        """Print what waits, the last row in any case, and take the bar away."""
        if self._left_out:
            self._waiting.append(self._left_out)
            self._left_out = ""
        self._flush()
        self._wipe()

    def _flush(self) -> None:
        """Print the rows that wait."""
        if self._waiting:
            self._updated = perf_counter()
            self._line("\n".join(self._waiting))
            self._waiting.clear()

    def _line(self, text: str, **style: Any) -> None:
        """A line that stays, above the bar where there is one."""
        self._keep(self._bar.print(styled(text, self._stream, **style) + "\n"))

    def _wipe(self) -> None:
        """Take the bar away."""
        self._keep(self._bar.wipe())

    def _move(self, text: str, share: float | None, rate: str = "") -> None:
        """Print the rows that wait, and bring the bar up to date; at most five times a second."""
        now = perf_counter()
        pace = None if share is None else self._pace.heard(now, share)
        if now - self._updated < BETWEEN_UPDATES:
            return
        if not self._moving or now - self._begun < BEFORE_BAR:
            self._flush()
            return
        self._updated = now
        left = min((1 - share) / pace, self._ends - now) if share is not None and pace else math.inf
        remaining = f"{clock(max(left, 0.0))} left" if left < math.inf else ""
        rows = "".join(row + "\n" for row in self._waiting)
        self._waiting.clear()
        self._keep(self._bar.draw(text, share, rate, remaining, rows))

    def _keep(self, is_there: bool) -> None:
        """Say nothing more where nobody can read it."""
        if not is_there:
            self._stream, self._moving = None, False
            self._bar = Bar(None)
