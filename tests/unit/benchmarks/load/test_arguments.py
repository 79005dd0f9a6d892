"""The command line."""

import pytest

from benchmarks.load.arguments import parse
from benchmarks.load.loads import ClosedLoop, OpenLoop


def test_the_defaults_compare_five_pairs_in_closed_and_open_loops() -> None:
    plan = parse([])
    assert plan.rounds == 5
    assert {type(load) for load in plan.loads} == {ClosedLoop, OpenLoop}
    assert not plan.without


def test_loads_are_given_by_concurrency_and_rate() -> None:
    plan = parse(["--concurrency", "1", "64", "--rate", "12.5"])
    assert plan.loads == [ClosedLoop(1), ClosedLoop(64), OpenLoop(12.5)]


@pytest.mark.parametrize(
    "words",
    [
        "--concurrency 0",
        "--concurrency 65",
        "--concurrency many",
        "--rate 0",
        "--rate nan",
        "--rounds 0",
        "--concurrency --rate",
        "--without bare mlserver",
    ],
)
def test_what_makes_no_sense_is_refused(words: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(words.split())
    assert refused.value.code == 2
