"""A search as the command line takes it, and its trials as it shows them."""

from typing import Any

import pytest
import typer
from braintumor.v1 import training_pb2

from core.search import Choice, Range, SearchSpec, TrialState
from core.training import Optimizer, Task, TrainingSpec
from services import converters
from services.cli.jobs import show_job
from services.cli.output import Output
from services.cli.search import search_message, search_of
from tests.fakes.records import a_job, a_search, a_trial


def search(*space: str, trials: int = 5, minutes: float = 0.0) -> SearchSpec:
    return search_of(space, trials, minutes)


def test_ranges_and_values_are_told_apart() -> None:
    found = search(
        "learning_rate=1e-4..1e-3:log",
        "epochs=4..12",
        "dropout=0.1, 0.3",
        "optimizer=SGD,adam",
        "augmentation=on,off",
        minutes=1.5,
    )
    assert (found.trials, found.seconds) == (5, 90.0)
    assert found.space == {
        "learning_rate": Range(low=1e-4, high=1e-3, log=True),
        "epochs": Range(low=4, high=12),
        "dropout": Choice(values=(0.1, 0.3)),
        "optimizer": Choice(values=(Optimizer.SGD, Optimizer.ADAM)),
        "augmentation": Choice(values=(True, False)),
    }


def test_the_server_reads_what_is_sent() -> None:
    job = training_pb2.TrainingJob(search=search_message(a_search()))
    assert converters.search_spec(job) == a_search()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": ["dropout"]}, "write it as key=value"),
        ({"space": ["seed=1,2"]}, "seed: cannot be searched"),
        ({"space": ["dropout=0.1"]}, "dropout: must have from 2"),
        ({"space": ["dropout=0.3..0.1"]}, "lower end first"),
        ({"space": ["dropout=0.1..0.3:ln"]}, ":log and nothing else"),
        ({"space": ["dropout=0.1,0.3"], "trials": 1}, "trials: must be a whole number from 2"),
        ({"space": ["dropout=0.1,0.3"], "minutes": float("nan")}, "time_limit: must be"),
    ],
)
def test_a_bad_search_is_explained(
    arguments: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught:
        search(*arguments.pop("space"), **arguments)
    assert caught.value.exit_code == 2
    assert words in capsys.readouterr().err


def test_a_job_shows_its_trials(capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job(search=a_search(seconds=90.0), result_job="next")
    message = converters.training_job_message(job, [a_trial(1), a_trial(2, scores=())])
    show_job(Output(as_json=False), message)
    said = capsys.readouterr().out
    assert "7 trials within 1.5 min of learning rate 0.0001..0.3 (log)" in said
    assert "augmentation true false" in said
    assert "trainingJobs/next" in said
    (first,) = (line for line in said.splitlines() if "0.6667" in line)
    assert "COMPLETE" in first
    assert "optimizer sgd" in first
    assert "augmentation False" in first


def test_trials_are_told_in_short_and_the_best_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = {"learning_rate": 0.00035384535909065536, "frozen_blocks": 3}
    trials = [
        a_trial(1, scores=(0.5,), recipe=recipe),
        a_trial(2, scores=(0.75,), recipe=recipe),
        a_trial(3, scores=(0.75,), recipe=recipe),
        a_trial(4, scores=(0.9,), state=TrialState.PRUNED),
    ]
    message = converters.training_job_message(a_job(search=a_search()), trials)
    show_job(Output(as_json=False), message)
    said = capsys.readouterr().out
    (best,) = (line for line in said.splitlines() if " * " in line)
    assert best.split()[0] == "2"
    assert "learning rate 0.0003538, frozen blocks 3" in best
    assert "error" not in said
    show_job(Output(as_json=True), message)
    assert "0.00035384535909065536" in capsys.readouterr().out


def test_without_a_complete_trial_none_is_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [a_trial(1, state=TrialState.FAILED, scores=(), error="no memory")]
    message = converters.training_job_message(a_job(search=a_search()), trials)
    show_job(Output(as_json=False), message)
    said = capsys.readouterr().out
    assert "best" not in said
    assert "no memory" in said


def test_a_segmenters_trials_are_shown_with_their_dice(capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job(spec=TrainingSpec(task=Task.SEGMENTATION), search=a_search())
    show_job(Output(as_json=False), converters.training_job_message(job, [a_trial(1)]))
    said = capsys.readouterr().out
    assert "Dice" in said
    assert "macro-F1" not in said


def test_a_job_that_searches_nothing_says_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_job(Output(as_json=False), converters.training_job_message(a_job()))
    said = capsys.readouterr().out
    assert "search" not in said
    assert "macro-F1" not in said
