"""What Optuna is asked, and that the same trials always give the same answer."""

from typing import Any

import pytest

from core.search import Choice, Range, SearchSpec, SearchTrial, TrialState
from core.training import Optimizer, TrainingSpec
from tests.fakes.records import a_search, a_trial
from workers.learning.suggestion import Suggestion

BASE = TrainingSpec(learning_rate=6e-4, dropout=0.2, seed=5)
RATES = {"learning_rate": Range(low=1e-4, high=1e-3, log=True)}


def a_space(**space: Any) -> SearchSpec:
    return SearchSpec(trials=20, space=space or RATES)


def suggest(trials: list[SearchTrial], search: SearchSpec, base: TrainingSpec = BASE) -> Suggestion:
    suggestion = Suggestion.after(trials, search, base)
    assert suggestion is not None
    return suggestion


def rated(number: int, *scores: float, state: TrialState = TrialState.COMPLETE) -> SearchTrial:
    recipe = {"learning_rate": 1e-4 + number * 1e-5}
    return a_trial(number, recipe=recipe, scores=scores, state=state)


def test_the_first_trial_is_the_base_where_the_space_holds_it() -> None:
    assert suggest([], a_space()).recipe == {"learning_rate": 6e-4}
    small = {"learning_rate": Range(low=1e-5, high=1e-4), "dropout": Choice(values=(0.2, 0.3))}
    recipe = suggest([], a_space(**small)).recipe
    assert 1e-5 <= recipe["learning_rate"] <= 1e-4


def test_every_kind_of_dimension_gets_a_value_of_its_own_kind() -> None:
    recipe = suggest([a_trial(recipe=dict(suggest([], a_search()).recipe))], a_search()).recipe
    assert set(recipe) == set(a_search().space)
    assert isinstance(recipe["frozen_blocks"], int)
    assert 1e-4 <= recipe["learning_rate"] <= 0.1 + 0.2
    assert recipe["optimizer"] in (Optimizer.ADAM, Optimizer.SGD)
    assert isinstance(recipe["augmentation"], bool)


def test_the_same_trials_give_the_same_suggestion_and_others_another() -> None:
    trials = [rated(number, number / 20) for number in range(1, 15)]
    assert suggest(trials, a_space()).recipe == suggest(trials, a_space()).recipe
    assert suggest(trials, a_space()).recipe != suggest(trials[:-1], a_space()).recipe
    other = TrainingSpec(seed=6)
    assert suggest(trials, a_space()).recipe != suggest(trials, a_space(), other).recipe


def test_it_learns_where_scores_are_high() -> None:
    search = a_space(dropout=Range(low=0.0, high=0.9))
    trials: list[SearchTrial] = []
    for number in range(1, 41):
        recipe = dict(suggest(trials, search).recipe)
        score = 1 - abs(recipe["dropout"] - 0.7)
        trials.append(a_trial(number, recipe=recipe, scores=(score,)))
    late = [trial.recipe["dropout"] for trial in trials[-10:]]
    assert sum(0.55 <= value <= 0.85 for value in late) >= 7


def test_no_recipe_is_tried_twice_and_a_small_space_ends() -> None:
    search = a_space(dropout=Choice(values=(0.1, 0.2)), epochs=Range(low=3, high=4))
    trials: list[SearchTrial] = []
    while (suggestion := Suggestion.after(trials, search, BASE)) is not None:
        trials.append(a_trial(len(trials) + 1, recipe=dict(suggestion.recipe)))
    assert sorted((t.recipe["dropout"], t.recipe["epochs"]) for t in trials) == [
        (0.1, 3),
        (0.1, 4),
        (0.2, 3),
        (0.2, 4),
    ]


@pytest.mark.parametrize(
    ("scores", "hopeless"),
    [
        ((0.1,), False),  # the first epoch is spared
        ((0.1, 0.2), True),
        ((0.5, 0.2), False),  # its best counts
        ((0.1, 0.45), False),  # the median of the second epochs is 0.45
        ((0.1, 0.44), True),
    ],
)
def test_a_trial_below_the_median_is_hopeless(scores: tuple[float, ...], hopeless: bool) -> None:
    judges = [rated(n, 0.1, v, 0.9) for n, v in enumerate((0.3, 0.4, 0.5, 0.6), start=1)]
    assert suggest(judges, a_space()).is_hopeless(scores) is hopeless


def test_the_first_trials_are_never_hopeless() -> None:
    judges = [rated(number, 0.9, 0.9) for number in range(1, 4)]
    judges.append(rated(4, 0.1, state=TrialState.PRUNED))
    judges.append(a_trial(5, recipe={"learning_rate": 5e-4}, state=TrialState.FAILED, scores=()))
    assert not suggest(judges, a_space()).is_hopeless((0.0, 0.0))


def test_each_epoch_is_told_once() -> None:
    judges = [rated(number, 0.5, 0.5, 0.5) for number in range(1, 5)]
    suggestion = suggest(judges, a_space())
    assert not suggestion.is_hopeless((0.4,))
    assert suggestion.is_hopeless((0.4, 0.4))
    assert not suggestion.is_hopeless((0.4, 0.4, 0.6))
