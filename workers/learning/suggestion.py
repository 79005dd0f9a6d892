"""What Optuna makes of the trials so far: the next recipe, and whether to go on with it.

Nothing is kept in Optuna. Every trial gets a study of its own, filled with the trials before it and
seeded by its number, so that a worker that takes a search over makes the same of the same trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Self

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from core.search import Choice, Dimension, SearchSpec, SearchTrial, TrialState
from core.training import TrainingSpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

_JUDGES: Final = 4
"""No trial is given up before so many are complete."""
_SPARED_EPOCHS: Final = 1
"""Nor by its first epoch, which says little while the learning rate still rises."""
_DRAWS: Final = 200

_STATES: Final = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}


class Suggestion:
    """One trial to come. ``recipe`` holds a value for each field of the space."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self._reported = 0
        self.recipe: Mapping[str, Any] = trial.params

    @classmethod
    def after(
        cls, trials: Sequence[SearchTrial], search: SearchSpec, base: TrainingSpec
    ) -> Self | None:
        """The next trial, unlike all before it; None once the whole space has been tried.

        The first is the base recipe itself where the space holds it. From then on by a
        tree-structured Parzen estimator (Bergstra et al., 2011), the first ones at random.
        """
        space = {name: _distribution(found) for name, found in search.space.items()}
        study = _study(base.seed + len(trials))
        study.add_trials([_told(trial, space) for trial in trials])
        own = {name: value for name, value in asdict(base).items() if name in space}
        if not trials and all(_holds(search.space[name], own[name]) for name in space):
            study.enqueue_trial(own)
        tried = [trial.recipe for trial in trials]
        for _ in range(_DRAWS):
            drawn = study.ask(space)
            if drawn.params not in tried:
                return cls(drawn)
        return None

    def is_hopeless(self, scores: Sequence[float]) -> bool:
        """Whether the best of the scores after each epoch so far is below what the median of the
        complete trials had at this epoch."""
        for epoch in range(self._reported, len(scores)):
            self._trial.report(scores[epoch], epoch)
        self._reported = len(scores)
        return bool(self._trial.should_prune())


def _study(seed: int) -> optuna.Study:
    return optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_JUDGES, n_warmup_steps=_SPARED_EPOCHS),
    )


def _told(trial: SearchTrial, space: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=None if trial.state is TrialState.FAILED else trial.score,
        params=dict(trial.recipe),
        distributions=dict(space),
        intermediate_values=dict(enumerate(trial.scores)),
    )


def _distribution(found: Dimension) -> BaseDistribution:
    if isinstance(found, Choice):
        return CategoricalDistribution(found.values)
    if isinstance(found.low, int) and isinstance(found.high, int):
        return IntDistribution(found.low, found.high, log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _holds(found: Dimension, value: Any) -> bool:
    if isinstance(found, Choice):
        return value in found.values
    return bool(found.low <= value <= found.high)
