"""Rounds in which every system has its turn under every load, and ratios within a round."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.load.loads import ClosedLoop, Load, Overload
from benchmarks.load.measurement import Measurement
from benchmarks.load.system import System, Timing

T = TypeVar("T")

METRICS: Final[Mapping[str, Callable[[Measurement], float]]] = {
    "requests/s": lambda m: m.requests_per_second,
    "p50": lambda m: m.latencies.p50_ms,
    "p99": lambda m: m.latencies.p99_ms,
    "CPU a request": lambda m: m.cpu_ms_per_request,
}
"""What is compared."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement, and what ``labels`` the system gave the scans in that turn."""

    round: int
    system: str
    load: str
    labels: tuple[str, ...]
    measurement: Measurement


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Of a system's numbers to a peer's, a pair a round."""

    median: float
    lowest: float
    highest: float
    pairs: int


def compare(
    systems: Sequence[System],
    loads: Sequence[Load | Overload],
    timing: Timing,
    *,
    rounds: int,
    say: Callable[[str], None],
) -> Iterator[list[Record]]:
    """Each round once it is complete. One system runs at a time. Raises ``StartFailed``."""
    for number in range(1, rounds + 1):
        records: list[Record] = []
        for system in in_turn(systems, number):
            say(f"Round {number} of {rounds}: {system.name}.")
            records += _turn(number, system, loads, timing)
        yield records


def in_turn(systems: Sequence[T], number: int) -> Sequence[T]:
    """Forwards in odd rounds and backwards in even ones: a drift of the machine favours none."""
    return systems if number % 2 else systems[::-1]


def _turn(
    number: int, system: System, loads: Sequence[Load | Overload], timing: Timing
) -> Iterator[Record]:
    peak = 0.0
    with system.start() as running:
        labels = tuple(running.labels())
        for load in loads:
            if isinstance(load, Overload) and not (system.bounded and peak):
                continue
            applied = load.beyond(peak) if isinstance(load, Overload) else load
            measurement = running.measure(applied, timing)
            if isinstance(load, ClosedLoop):
                peak = max(peak, measurement.requests_per_second)
            yield Record(
                round=number,
                system=system.name,
                load=str(load),
                labels=labels,
                measurement=measurement,
            )


def ratio(
    records: Sequence[Record], load: str, metric: str, *, system: str, peer: str
) -> Ratio | None:
    """None where there is no round in which both answered."""
    ours = _by_round(records, load, metric, system)
    theirs = _by_round(records, load, metric, peer)
    return _summary([ours[number] / theirs[number] for number in ours if number in theirs])


def _summary(ratios: Sequence[float]) -> Ratio | None:
    if not ratios:
        return None
    return Ratio(
        median=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        pairs=len(ratios),
    )


def against_peak(records: Sequence[Record], load: str, metric: str, system: str) -> Ratio | None:
    """The ratios of a system's numbers under a load to its own at its peak: in each round, the
    closed loop under which it answered most."""
    ratios = []
    for under in records:
        if (under.load, under.system) == (load, system) and under.measurement.completed:
            others = (r for r in records if (r.round, r.system) == (under.round, system))
            loops = [r.measurement for r in others if r.load.startswith(ClosedLoop.NAME)]
            if loops:
                peak = max(loops, key=lambda loop: loop.requests_per_second)
                ratios.append(METRICS[metric](under.measurement) / METRICS[metric](peak))
    return _summary(ratios)


def agreement(records: Sequence[Record], *, system: str, peer: str) -> float | None:
    """The share of scans that both label alike, over the rounds; None without a pair."""
    ours = {r.round: r.labels for r in records if r.system == system}
    theirs = {r.round: r.labels for r in records if r.system == peer}
    same = [
        our == their
        for number in ours.keys() & theirs.keys()
        for our, their in zip(ours[number], theirs[number], strict=True)
    ]
    return sum(same) / len(same) if same else None


def _by_round(
    records: Sequence[Record], load: str, metric: str, system: str
) -> Mapping[int, float]:
    """The metric of each round in which the system answered at all."""
    return {
        r.round: METRICS[metric](r.measurement)
        for r in records
        if (r.load, r.system) == (load, system) and r.measurement.completed
    }
