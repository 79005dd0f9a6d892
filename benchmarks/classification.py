"""Accuracy of the classifiers, fold by fold, by the code that training jobs run.

``python -m benchmarks.classification DATA --backbone efficientnet_b0 --protocol grouped``, where
DATA is a folder of slices with a ``manifest.csv`` (path, label, group). A run that stopped goes on
behind its last epoch; a fold that is done is not trained again. Each fold adds a line to
``results/classification.jsonl`` and a file to ``results/held_out/``; without DATA they are only
turned into ``results/classification.md``.

Protocols:

* ``grouped``: stratified 5-fold cross-validation; slices of one given group or near-duplicate
  component stay together.
* ``random``: stratified 80/20, three seeds, groups ignored, as notebooks on this data do. It leaks:
  the same patient, even the same slice re-encoded, is on both sides.

Epoch, temperature and threshold are chosen on validation slices taken from the training part.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.provenance import provenance
from benchmarks.training import (
    add_training_arguments,
    items_of,
    recipe,
    recipe_name,
    say_everything,
    work_place,
)
from core.datasets import DatasetItem
from core.prediction import Decision
from core.registry import Evaluation
from core.training import TrainingSpec
from workers.curation.splits import SplitPlan, fold_plans, group_names
from workers.evaluation.judge import HeldOut, judge
from workers.evaluation.metrics import SplitSizes, macro_f1
from workers.imaging.decode import ImageLimits
from workers.learning.fold_answers import FoldAnswers
from workers.learning.folds import CrossValidation
from workers.learning.input_pipeline import DecodedSet
from workers.learning.reading import read_slices
from workers.learning.runtime import configure_runtime

RESULTS: Final = Path(__file__).parent / "results"
LINES: Final = RESULTS / "classification.jsonl"
TABLE: Final = RESULTS / "classification.md"
HELD_OUT: Final = RESULTS / "held_out"
FOLDS: Final = 5
SEEDS: Final = 3
POOLED: Final = ("accuracy", "macro_f1", "ece", "accuracy_at_80", "coverage", "accepted_accuracy")

Line = Mapping[str, Any]
Parts = Mapping[int, Line]
"""The newest line of each fold or seed, counted from 1."""


def main() -> None:
    arguments = parse()
    if arguments.data is not None:
        run(arguments)
    TABLE.write_text(table())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--backbone", default="efficientnet_b0")
    parser.add_argument("--protocol", choices=("grouped", "random"), default="grouped")
    parser.add_argument("--only", type=int, nargs="*", help="folds or seeds, counted from 1")
    add_training_arguments(parser)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    spec = recipe(arguments.set, backbone=arguments.backbone)
    settings, store = work_place(arguments.work)
    items = items_of(arguments.data, settings, store)
    plans = make_plans(items, arguments.protocol, spec)
    configure_runtime(arguments.threads)
    data = read_slices(items, spec, say_everything(), store, ImageLimits.of(settings))
    job = f"{arguments.data.name}-{arguments.protocol}-{recipe_name(spec)}"
    validation = CrossValidation(spec, data, job_id=job, store=store, settings=settings)
    for number in arguments.only or range(1, len(plans) + 1):
        started = time.monotonic()
        answers = validation.fold(number, plans[number - 1], say_everything())
        keep(arguments, spec, number, answers, data, time.monotonic() - started)


def make_plans(items: Sequence[DatasetItem], protocol: str, spec: TrainingSpec) -> list[SplitPlan]:
    if protocol == "grouped":
        return fold_plans(
            items, folds=FOLDS, validation_share=spec.validation_share, seed=spec.seed
        )
    return [random_plan(items, seed, spec.validation_share) for seed in range(SEEDS)]


def random_plan(items: Sequence[DatasetItem], seed: int, validation_share: float) -> SplitPlan:
    labels = [str(item.label) for item in items]
    rest, test = train_test_split(list(items), test_size=0.2, stratify=labels, random_state=seed)
    train, validation = train_test_split(
        rest,
        test_size=validation_share / 0.8,
        stratify=[str(item.label) for item in rest],
        random_state=seed,
    )
    return SplitPlan(
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        protocol=f"random stratified 80/20, groups ignored, seed {seed}",
    )


def keep(
    arguments: argparse.Namespace,
    spec: TrainingSpec,
    number: int,
    answers: FoldAnswers,
    data: DecodedSet,
    seconds: float,
) -> None:
    """Write down what one fold or seed came to."""
    labels = data.labels(answers.plan.test)
    predicted = answers.logits.argmax(axis=1)
    name = f"{arguments.protocol}-{recipe_name(spec)}-{number}.npz"
    line = {
        "data": arguments.data.name,
        "protocol": arguments.protocol,
        "part": number,
        "backbone": spec.backbone,
        "recipe": recipe_name(spec),
        "spec": asdict(spec),
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": macro_f1(labels, predicted),
        "train_size": len(answers.plan.train),
        "validation_size": len(answers.plan.validation),
        "test_size": len(labels),
        "seconds": round(seconds),
        "held_out": name,
        **provenance(),
    }
    HELD_OUT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        HELD_OUT / name,
        sha256=[item.sha256 for item in answers.plan.test],
        groups=group_names(answers.plan.test),
        labels=labels,
        probabilities=answers.probabilities,
        decisions=answers.decisions,
    )
    with LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def table() -> str:
    """Means over the parts of each recipe, and what their answers are worth as one."""
    recipes = newest_lines()
    rows = [
        "# Classification\n",
        "Made by `python -m benchmarks.classification`; see its docstring for the protocols.\n",
        "| protocol | backbone | recipe | parts | accuracy (mean ± sd) | macro-F1 (mean ± sd) "
        "| seconds a part | date | commit | machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(mean_row(key, parts) for key, parts in sorted(recipes.items())),
        "\nAll parts as one, each slice by the model that did not learn from it, with 95 % "
        "intervals over groups. Probabilities are calibrated on each part's own validation "
        "slices; abstention as in serving.\n",
        f"| protocol | backbone | recipe | {' | '.join(POOLED)} |",
        "| --- | --- | --- |" + " --- |" * len(POOLED),
        *(pooled_row(key, parts) for key, parts in sorted(recipes.items())),
    ]
    return "\n".join(rows) + "\n"


def newest_lines() -> dict[tuple[str, str, str], dict[int, Line]]:
    newest: dict[tuple[str, str, str], dict[int, Line]] = defaultdict(dict)
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        parts = newest[line["protocol"], line["backbone"], line["recipe"]]
        # A part that was trained before is only judged again, which takes a minute.
        seconds = max(line["seconds"], parts.get(line["part"], line)["seconds"])
        parts[line["part"]] = {**line, "seconds": seconds}
    return newest


def mean_row(key: tuple[str, str, str], parts: Parts) -> str:
    last = parts[max(parts)]
    cells = [
        *short(key),
        ", ".join(map(str, sorted(parts))),
        spread([part["accuracy"] for part in parts.values()]),
        spread([part["macro_f1"] for part in parts.values()]),
        f"{np.mean([part['seconds'] for part in parts.values()]):.0f}",
        *(last[name] for name in ("date", "commit", "machine")),
    ]
    return f"| {' | '.join(cells)} |"


def pooled_row(key: tuple[str, str, str], parts: Parts) -> str:
    found = pooled(parts)
    cells = [*short(key)]
    for name in POOLED:
        value, interval = getattr(found, name), found.intervals.get(name)
        between = f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""
        cells.append("none" if value is None else f"{value:.4f}{between}")
    return f"| {' | '.join(cells)} |"


def pooled(parts: Parts) -> Evaluation:
    """The answers of all parts judged as one."""
    files = [np.load(HELD_OUT / part["held_out"], allow_pickle=False) for part in parts.values()]
    joined = {name: np.concatenate([file[name] for file in files]) for name in files[0].files}
    mean = {
        name: round(float(np.mean([part[f"{name}_size"] for part in parts.values()])))
        for name in ("train", "validation")
    }
    return judge(
        HeldOut(
            sha256=joined["sha256"].tolist(),
            groups=joined["groups"].tolist(),
            labels=joined["labels"],
            probabilities=joined["probabilities"],
            decisions=[Decision(decision) for decision in joined["decisions"].tolist()],
            sizes=SplitSizes(**mean, test=len(joined["labels"])),
            protocol=str(parts[min(parts)]["protocol"]),
        )
    ).evaluation


def short(key: tuple[str, str, str]) -> tuple[str, str, str]:
    protocol, backbone, name = key
    return protocol, backbone, name[-10:]


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    main()
