"""A run as tables for people and as JSON."""

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.load.comparison import METRICS, Ratio, Record, against_peak, agreement, ratio
from benchmarks.load.loads import Overload
from benchmarks.load.measurement import Measurement

_MIB: Final = 2**20
_NOTHING: Final = "-"
_RATIOS: Final = (
    "A system's number divided by its peer's of the same round: the median of the pairs, and the "
    "lowest and highest. More is better for requests/s, less for everything else."
)
_PAST_THE_PEAK: Final = (
    "Requests that were answered, divided by the system's own numbers in the closed loop of the "
    "same round under which it answered most. What was refused is among the errors below."
)
_FIGURES: Final = (
    "Medians over the rounds. Latencies in milliseconds; in an open loop they count from when a "
    "request was to be sent. CPU of the processes that serve, in milliseconds."
)
_PROCESSES: Final = (
    "Medians over the rounds: CPU in milliseconds a request, and the largest resident memory."
)

_COLUMNS: Final[Mapping[str, Callable[[Measurement], float]]] = {
    "requests/s": lambda m: m.requests_per_second,
    "p50": lambda m: m.latencies.p50_ms,
    "p90": lambda m: m.latencies.p90_ms,
    "p99": lambda m: m.latencies.p99_ms,
    "p99.9": lambda m: m.latencies.p999_ms,
    "max": lambda m: m.latencies.max_ms,
    "CPU a request": lambda m: m.cpu_ms_per_request,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What was measured; ``conditions`` says in words under what.

    ``pairs`` names each system that is compared, and its peer.
    """

    conditions: Mapping[str, str]
    pairs: Sequence[tuple[str, str]]
    records: Sequence[Record]

    @property
    def loads(self) -> Sequence[str]:
        return list(dict.fromkeys(record.load for record in self.records))

    @property
    def systems(self) -> Sequence[str]:
        return list(dict.fromkeys(record.system for record in self.records))

    def measurements(self, load: str, system: str) -> list[Measurement]:
        """Of every round."""
        return [r.measurement for r in self.records if (r.load, r.system) == (load, system)]


def write(run: Run, path: Path) -> None:
    """Two files: ``path`` with ``.json`` and with ``.md``. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.json").write_text(json.dumps(as_json(run), indent=1) + "\n")
    path.with_name(f"{path.name}.md").write_text(as_markdown(run))


def as_json(run: Run) -> dict[str, Any]:
    """Every measurement with its histogram, and every ratio to a peer."""
    ratios = [
        {"load": load, "system": system, "peer": peer, "metric": metric, **asdict(found)}
        for load in run.loads
        for system, peer in run.pairs
        for metric in METRICS
        if (found := ratio(run.records, load, metric, system=system, peer=peer))
    ]
    records = [asdict(record) | {"figures": _figures(record)} for record in run.records]
    return {"conditions": dict(run.conditions), "ratios": ratios, "records": records}


def _figures(record: Record) -> Mapping[str, float]:
    return {name: column(record.measurement) for name, column in _COLUMNS.items()}


def as_markdown(run: Run) -> str:
    """Ratios first: a number alone tells as much of the machine as of the system."""
    sections = [
        "# Load on the service, on the bare runtime and on MLServer",
        "\n".join(f"- {name}: {words}" for name, words in run.conditions.items()),
        "## Ratios",
        _RATIOS,
        _table(("load", "system / peer", *METRICS, "pairs"), _ratio_rows(run)),
        *_past_the_peak(run),
        "## Figures",
        _FIGURES,
        _table(("load", "system", *_COLUMNS, "errors"), _figure_rows(run)),
        "## Processes",
        _PROCESSES,
        _table(("load", "system", "process", "CPU a request", "MiB"), _process_rows(run)),
        "## Agreement",
        _table(("system / peer", "share of scans labelled alike"), _agreement_rows(run)),
    ]
    return "\n\n".join(sections) + "\n"


def _ratio_rows(run: Run) -> Iterable[Sequence[str]]:
    for load in run.loads:
        for system, peer in run.pairs:
            if not (run.measurements(load, system) and run.measurements(load, peer)):
                continue
            found = [
                ratio(run.records, load, metric, system=system, peer=peer) for metric in METRICS
            ]
            pairs = str(found[0].pairs) if found[0] is not None else "0"
            yield load, f"{system} / {peer}", *map(_ratio_text, found), pairs


def _past_the_peak(run: Run) -> Sequence[str]:
    """Nothing where no system was overloaded."""
    overloads = [load for load in run.loads if load.endswith(Overload.NAME)]
    rows = [
        (load, system, *map(_ratio_text, found))
        for load in overloads
        for system in run.systems
        if any(found := [against_peak(run.records, load, m, system) for m in METRICS])
    ]
    if not rows:
        return []
    return ["## Past the peak", _PAST_THE_PEAK, _table(("load", "system", *METRICS), rows)]


def _ratio_text(found: Ratio | None) -> str:
    if found is None:
        return _NOTHING
    return f"{found.median:.2f} ({found.lowest:.2f} to {found.highest:.2f})"


def _figure_rows(run: Run) -> Iterable[Sequence[str]]:
    for load in run.loads:
        for system in run.systems:
            if not (found := run.measurements(load, system)):
                continue
            figures = (_median_text(map(column, found)) for column in _COLUMNS.values())
            yield load, system, *figures, _errors_text(found)


def _errors_text(found: Sequence[Measurement]) -> str:
    """Of all rounds together."""
    errors: Counter[str] = Counter()
    for measurement in found:
        errors.update(measurement.errors)
    return ", ".join(f"{count} {status}" for status, count in sorted(errors.items())) or "0"


def _process_rows(run: Run) -> Iterable[Sequence[str]]:
    for load in run.loads:
        for system in run.systems:
            found = run.measurements(load, system)
            for role in dict.fromkeys(role for m in found for role in m.processes):
                uses = [(m.completed, m.processes[role]) for m in found if role in m.processes]
                cpu = (1e3 * use.cpu_seconds / done for done, use in uses if done)
                memory = (use.peak_bytes / _MIB for _, use in uses)
                yield load, system, role, _median_text(cpu), _median_text(memory)


def _agreement_rows(run: Run) -> Iterable[Sequence[str]]:
    for system, peer in run.pairs:
        share = agreement(run.records, system=system, peer=peer)
        yield f"{system} / {peer}", _NOTHING if share is None else f"{share:.4f}"


def _median_text(values: Iterable[float]) -> str:
    known = list(values)
    return f"{statistics.median(known):.1f}" if known else _NOTHING


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
