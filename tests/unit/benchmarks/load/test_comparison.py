"""Rounds, pairs and ratios."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from benchmarks.load.comparison import against_peak, agreement, compare, in_turn, ratio
from benchmarks.load.loads import ClosedLoop, Load, OpenLoop, Overload
from benchmarks.load.measurement import Measurement
from benchmarks.load.system import Running, System, Timing
from tests.unit.benchmarks.load.records import LOAD, a_record


class FakeRunning:
    """Answers ten requests a second for each caller, up to 50."""

    def __init__(self) -> None:
        self.loads: list[Load] = []

    def labels(self) -> Sequence[str]:
        return ["glioma"]

    def measure(self, load: Load, timing: Timing) -> Measurement:
        self.loads.append(load)
        callers = load.concurrency if isinstance(load, ClosedLoop) else 0
        return a_record("any", completed=min(10 * callers, 50)).measurement


def a_system(
    name: str, events: list[str], running: FakeRunning | None = None, *, bounded: bool = False
) -> System:
    @contextmanager
    def start() -> Iterator[Running]:
        events.append(f"{name} starts")
        yield running or FakeRunning()
        events.append(f"{name} stops")

    return System(name, start, bounded)


def test_systems_run_one_at_a_time_and_the_order_turns_round() -> None:
    events: list[str] = []
    systems = [a_system("a", events), a_system("b", events)]
    loads = [ClosedLoop(1), ClosedLoop(16)]
    timing = Timing(warm_up=1.0, measured=1.0)
    rounds = list(compare(systems, loads, timing, rounds=2, say=lambda _: None))
    assert events == [
        *("a starts", "a stops", "b starts", "b stops"),
        *("b starts", "b stops", "a starts", "a stops"),
    ]
    assert [[(r.round, r.system, r.load) for r in records] for records in rounds] == [
        [(1, name, str(load)) for name in ("a", "b") for load in loads],
        [(2, name, str(load)) for name in ("b", "a") for load in loads],
    ]


def test_a_system_that_refuses_is_loaded_beyond_its_own_peak() -> None:
    bounded, endless = FakeRunning(), FakeRunning()
    systems = [
        a_system("service", [], bounded, bounded=True),
        a_system("peer", [], endless),
    ]
    loads: list[Load | Overload] = [ClosedLoop(1), ClosedLoop(16), Overload(2.0)]
    timing = Timing(warm_up=1.0, measured=1.0)
    (records,) = compare(systems, loads, timing, rounds=1, say=lambda _: None)
    assert bounded.loads == [ClosedLoop(1), ClosedLoop(16), OpenLoop(100.0)]
    assert endless.loads == [ClosedLoop(1), ClosedLoop(16)]
    assert [r.load for r in records if r.system == "service"] == [str(load) for load in loads]


def test_an_overload_is_held_against_the_peak_of_its_round() -> None:
    overload = str(Overload(2.0))
    records = [
        a_record("us", load=str(ClosedLoop(1)), completed=60, p99=5.0),
        a_record("us", load=str(ClosedLoop(16)), completed=100, p99=20.0),
        a_record("us", load=overload, completed=90, p99=50.0),
        a_record("us", round_=2, load=str(ClosedLoop(16)), completed=200, p99=20.0),
        a_record("us", round_=2, load=overload, completed=200, p99=20.0),
        a_record("other", load=str(ClosedLoop(16)), completed=1000),
    ]
    goodput = against_peak(records, overload, "requests/s", "us")
    assert goodput is not None
    assert (goodput.lowest, goodput.highest, goodput.pairs) == (0.9, 1.0, 2)
    p99 = against_peak(records, overload, "p99", "us")
    assert p99 is not None
    assert (p99.lowest, p99.highest) == (1.0, 2.5)
    assert against_peak(records, overload, "p99", "other") is None


def test_every_second_round_goes_backwards() -> None:
    assert [list(in_turn("abc", number)) for number in (1, 2, 3)] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["a", "b", "c"],
    ]


def test_a_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    ours = [a_record("us", round_=n, completed=c) for n, c in enumerate((100, 300, 200))]
    theirs = [a_record("them", round_=n, completed=c) for n, c in enumerate((100, 100, 50))]
    found = ratio([*ours, *theirs], LOAD, "requests/s", system="us", peer="them")
    assert found is not None
    # Of the medians it would be 200 / 100.
    assert (found.lowest, found.median, found.highest, found.pairs) == (1.0, 3.0, 4.0, 3)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("requests/s", 0.5), ("p50", 3.0), ("p99", 2.0), ("CPU a request", 8.0)],
)
def test_each_metric_has_its_ratio(metric: str, expected: float) -> None:
    records = [
        a_record("us", completed=50, p50=30.0, p99=40.0, cpu_seconds=4.0),
        a_record("them", completed=100, p50=10.0, p99=20.0, cpu_seconds=1.0),
    ]
    found = ratio(records, LOAD, metric, system="us", peer="them")
    assert found is not None
    assert found.median == pytest.approx(expected)


def test_a_round_without_its_pair_counts_for_nothing() -> None:
    records = [
        *(a_record("us", round_=1), a_record("them", round_=1, completed=50)),
        *(a_record("us", round_=2), a_record("them", round_=2, completed=0)),
        a_record("us", round_=3),
    ]
    found = ratio(records, LOAD, "requests/s", system="us", peer="them")
    assert found is not None
    assert (found.median, found.pairs) == (2.0, 1)


def test_without_any_pair_there_is_no_ratio_and_no_agreement() -> None:
    records = [a_record("us"), a_record("them", round_=2)]
    assert ratio(records, LOAD, "p50", system="us", peer="them") is None
    assert agreement(records, system="us", peer="them") is None


def test_agreement_is_the_share_of_scans_labelled_alike() -> None:
    records = [
        a_record("us", labels=("glioma", "glioma", "no_tumor", "pituitary")),
        a_record("them", labels=("glioma", "meningioma", "no_tumor", "pituitary")),
    ]
    assert agreement(records, system="us", peer="them") == 0.75
