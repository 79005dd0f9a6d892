"""The command line."""

import pytest

from benchmarks.load.arguments import parse
from benchmarks.load.loads import ClosedLoop, OpenLoop, Overload, Study


def test_the_defaults_compare_five_pairs_under_every_load() -> None:
    plan = parse([])
    assert plan.rounds == 5
    assert {type(load) for load in plan.loads} == {ClosedLoop, OpenLoop, Study, Overload}
    assert plan.image_size is None
    assert not plan.without


def test_loads_are_given_one_by_one() -> None:
    words = "--concurrency 1 64 --rate 12.5 --study 20 --overload 1.5 3"
    assert parse(words.split()).loads == [
        *(ClosedLoop(1), ClosedLoop(64), OpenLoop(12.5), Study(20)),
        *(Overload(1.5), Overload(3.0)),
    ]


def test_without_a_closed_loop_there_is_no_peak_to_go_beyond() -> None:
    assert parse(["--concurrency", "--rate", "--study", "20"]).loads == [Study(20)]


@pytest.mark.parametrize(
    "words",
    [
        "--concurrency 0",
        "--concurrency 65",
        "--concurrency many",
        "--rate 0",
        "--rate nan",
        "--rounds 0",
        "--concurrency --rate --study",
        "--study 0",
        "--overload 0",
        "--image-size 8",
        "--without bare mlserver",
    ],
)
def test_what_makes_no_sense_is_refused(words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(words.split())
    assert refused.value.code == 2
