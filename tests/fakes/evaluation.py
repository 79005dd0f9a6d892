"""Answers of a middling model to held-out slices, for tests of evaluation."""

from typing import Any

import numpy as np

from core.labels import LABELS
from core.prediction import Decision
from core.training import EpochProgress
from tests.fakes.held_out import picture
from workers.evaluation.examples import Example
from workers.evaluation.judge import HeldOut, judge
from workers.evaluation.metrics import SplitSizes, softmax
from workers.evaluation.report import OodFacts, ReportFacts
from workers.evaluation.selective import decide_all
from workers.model_artefact import Calibration

COUNT = 200


def some_held_out(**changes: Any) -> HeldOut:
    """200 slices of 50 patients, four slices each; about nine of ten answers are right."""
    rng = np.random.default_rng(11)
    labels = np.arange(COUNT) % 4
    logits = rng.normal(size=(COUNT, 4)) * 1.5 + 4 * np.eye(4)[labels]
    probabilities = softmax(logits, 1.3)
    values: dict[str, Any] = {
        "sha256": [picture(n) for n in range(COUNT)],
        "groups": [f"p{n // 4}" for n in range(COUNT)],
        "labels": labels,
        "probabilities": probabilities,
        "decisions": decide_all(probabilities, 0.6),
        "sizes": SplitSizes(train=400, validation=100, test=COUNT),
        "protocol": "held out",
        "uncalibrated": softmax(logits),
    }
    return HeldOut(**(values | changes))


def some_facts(**changes: Any) -> ReportFacts:
    """What a report says of these answers."""
    values: dict[str, Any] = {
        "backbone": "efficientnet_b0",
        "weights_source": "file:b0.h5 sha256:abc",
        "dataset": "datasets/brains",
        "dataset_digest": "d" * 64,
        "training_data": "two hospitals; 620 slices",
        "spec": {"epochs": 2, "learning_rate": 6e-4},
        "judgement": judge(some_held_out(control_accuracy=0.55), resamples=50),
        "calibration": Calibration(
            temperature=1.234, abstain_below=0.567, target_risk=0.05, note="It was shown."
        ),
        "history": [an_epoch(1), an_epoch(2)],
        "best_epoch": 2,
        "parameters": 4_054_695,
        "latency_ms": 8.43,
        "export_difference": 2e-6,
        "library_versions": {"tensorflow": "2.21.0"},
        "flops": 390_000_000,
        "ood": OodFacts(
            threshold=1.203,
            validation_refused=0.01,
            held_out_refused=0.004,
        ),
        "examples": [
            an_example(0, answer=0),
            an_example(0, answer=1),
            an_example(3, answer=3, decision=Decision.ABSTAINED),
        ],
    }
    return ReportFacts(**(values | changes))


def an_example(label: int, answer: int, decision: Decision = Decision.ACCEPTED) -> Example:
    return Example(
        picture=np.full((20, 20), 90, np.uint8),
        label=LABELS[label],
        probabilities=tuple(0.7 if i == answer else 0.1 for i in range(4)),
        decision=decision,
        activation_map=np.eye(3),
    )


def an_epoch(number: int) -> EpochProgress:
    return EpochProgress(
        epoch=number,
        epochs=2,
        loss=1.5 / number,
        accuracy=0.5,
        val_loss=1.6 / number,
        val_accuracy=0.4,
        seconds=1.0,
        seconds_left=0.0,
    )
