"""A run as a picture: what comes out and how long it takes as callers grow in number."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl

from benchmarks.load.loads import ClosedLoop
from benchmarks.load.measurement import Measurement
from benchmarks.load.report import Run

_CLOSED: Final = f"{ClosedLoop.NAME}, "
_PANELS: Final[Mapping[str, Callable[[Measurement], float]]] = {
    "requests/s": lambda m: m.requests_per_second,
    "p50, ms": lambda m: m.latencies.p50_ms,
    "p99, ms": lambda m: m.latencies.p99_ms,
    "CPU ms a request": lambda m: m.cpu_ms_per_request,
}
_MARKERS: Final = "osD^v"
"""One a system: lines are told apart without their colours too."""


def draw(run: Run, path: Path) -> None:
    """``path`` with ``.svg``; nothing where fewer than two closed loops were run."""
    loads = [load for load in run.loads if load.startswith(_CLOSED)]
    if len(loads) < 2:
        return
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "load"  # the same run is the same file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(_PANELS), figsize=(14, 3.4), layout="constrained")
    for axis, (title, figure_of) in zip(axes, _PANELS.items(), strict=True):
        _draw_panel(axis, title, run, loads, figure_of)
    axes[0].legend(fontsize="small")
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    plt.close(figure)


def _draw_panel(
    axis: Any,
    title: str,
    run: Run,
    loads: Sequence[str],
    figure_of: Callable[[Measurement], float],
) -> None:
    callers = [_callers(load) for load in loads]
    for system, marker in zip(run.systems, _MARKERS, strict=False):
        values = [median(map(figure_of, run.measurements(load, system))) for load in loads]
        axis.plot(callers, values, marker=marker, label=system)
    axis.set(title=title, xlabel="callers at once", xscale="log", ylim=(0, None))
    axis.set_xticks(callers, map(str, callers))
    axis.minorticks_off()
    axis.grid(visible=True, alpha=0.3)


def _callers(load: str) -> int:
    return int(load.removeprefix(_CLOSED).split()[0])
