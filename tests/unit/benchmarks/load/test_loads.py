"""When requests are to be sent."""

import pytest

from benchmarks.load.loads import ClosedLoop, OpenLoop, Overload, Study


def test_an_open_loop_sends_at_equal_distances_until_the_end() -> None:
    assert list(OpenLoop(4.0).intended_times(10.0, 1.0)) == [10.0, 10.25, 10.5, 10.75]


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 1.0), (3.0, 7.0), (30.0, 10.0), (0.5, 5.0)])
def test_an_open_loop_sends_as_many_as_its_rate_says(rate: float, seconds: float) -> None:
    times = list(OpenLoop(rate).intended_times(0.0, seconds))
    assert len(times) == pytest.approx(rate * seconds, abs=1)
    assert times == sorted(times)
    assert times[-1] < seconds


def test_the_times_do_not_drift() -> None:
    times = list(OpenLoop(3.0).intended_times(0.0, 10_000.0))
    assert times[-1] == pytest.approx((len(times) - 1) / 3, rel=1e-12)


def test_loads_are_told_apart_by_their_words() -> None:
    assert str(ClosedLoop(16)) == "closed loop, 16 at once"
    assert str(OpenLoop(12.5)) == "open loop, 12.5/s"
    assert str(Study(500)) == "study of 500 slices"
    assert str(Overload(2.0)) == "open loop, 2 times the peak"


def test_an_overload_goes_beyond_the_peak() -> None:
    assert Overload(1.5).beyond(100.0) == OpenLoop(150.0)
