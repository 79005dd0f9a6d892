"""A training job on a terminal: a bar, and a table that grows by a line an epoch."""

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.cli.jobs import task_of
from services.cli.output import Row
from services.cli.watch import share_right

if TYPE_CHECKING:
    from rich.console import Console


class LiveWatcher:
    """Shows rows while it is entered."""

    def __init__(self, console: "Console") -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._bar.add_task("QUEUED", total=1.0)
        self._table = Table(box=SIMPLE_HEAD, show_edge=False)
        self._live = Live(Group(self._table, self._bar), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, row: Row) -> None:
        if not self._table.columns:  # the first row says which task it is
            for heading in _headings(share_right(task_of(row))):
                self._table.add_column(heading, justify="right")
        stage = f"  {row['stage']}" if row["stage"] else ""
        self._bar.update(
            self._task, description=f"{row['state']}{stage}", completed=row["progress"]
        )
        epoch = row.get("event", {}).get("epoch")
        if epoch is not None:
            self._table.add_row(*_cells(epoch))


def _headings(score: str) -> tuple[str, ...]:
    return ("epoch", "loss", score, "val loss", f"val {score}", "seconds", "images/s", "left")


def _cells(epoch: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{epoch['epoch']}/{epoch['epochs']}",
        f"{epoch['loss']:.4f}",
        f"{epoch['accuracy']:.3f}",
        f"{epoch['val_loss']:.4f}",
        f"{epoch['val_accuracy']:.3f}",
        f"{epoch['duration_seconds'] or 0:.1f}",
        f"{epoch.get('images_per_second') or 0:.1f}",
        f"{epoch['remaining_seconds'] or 0:.0f}",
    )
