"""Where an epoch's time went."""

from collections.abc import Iterator

import pytest

from workers.learning.pace import Pace, usable_cores


class Hands:
    """Two clocks that only the test moves."""

    def __init__(self) -> None:
        self.wall = 100.0
        self.processor = 7.0

    def pass_by(self, wall: float, processor: float = 0.0) -> None:
        self.wall += wall
        self.processor += processor


@pytest.fixture
def hands() -> Hands:
    return Hands()


def a_pace(hands: Hands, cores: int = 2) -> Pace:
    return Pace(clock=lambda: hands.wall, processor_clock=lambda: hands.processor, cores=cores)


def batches(hands: Hands, count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        hands.pass_by(seconds)
        yield number


def test_an_epoch_is_waiting_computing_and_validating(hands: Hands) -> None:
    pace = a_pace(hands)
    seen = []
    for batch in pace.waiting_for(batches(hands, 4, seconds=0.5)):
        seen.append(batch)
        hands.pass_by(1.5, processor=2.5)
    pace.learned_from(64)
    hands.pass_by(2.0, processor=4.0)
    assert seen == [0, 1, 2, 3]
    assert pace.seconds == 10.0
    found = pace.figures()
    assert found["images_per_second"] == pytest.approx(8.0)
    assert found["input_share"] == pytest.approx(0.2)
    assert found["validation_share"] == pytest.approx(0.2)
    assert found["busy_share"] == pytest.approx(10.0 / 16.0)


def test_what_the_input_takes_beside_the_cores_is_waiting_too(hands: Hands) -> None:
    pace = a_pace(hands, cores=1)
    assert list(pace.waiting_for(batches(hands, 2, seconds=1.0))) == [0, 1]
    pace.learned_from(2)
    assert pace.figures()["input_share"] == 1.0
    assert pace.figures()["busy_share"] == 0.0


def test_a_failing_input_fails(hands: Hands) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        list(a_pace(hands).waiting_for(failing()))


def test_shares_stay_shares_where_no_time_passes(hands: Hands) -> None:
    pace = a_pace(hands)
    pace.learned_from(0)
    found = pace.figures()
    assert (found["images_per_second"], found["input_share"], found["busy_share"]) == (0, 0, 0)
    assert 0 <= found["validation_share"] <= 1


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1
