"""A model on scans from a source it never saw: ``python -m benchmarks.cross_source``.

``--train DIR... --test DIR...`` name folders of slices with a ``manifest.csv`` (path, label,
group). All are taken in as one data set, so that a slice which is in both, re-encoded, is found; a
test slice is left out if its group or near-duplicate component has a slice to train on. The model
is trained on the first folders as a job would train it, its epoch, temperature, threshold and
limits of strangeness are chosen on validation slices of these, and it answers the rest as it would
when serving. Adds a line to ``results/cross_source.jsonl`` and makes ``cross_source.md`` of it.

Sensitivity and specificity are those for a tumour, whichever. The interval is over groups. A run
that stopped goes on behind its last epoch.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.provenance import provenance
from benchmarks.training import (
    add_training_arguments,
    items_of,
    not_default,
    recipe,
    recipe_name,
    say_everything,
    work_place,
)
from core.datasets import DatasetItem
from core.labels import LABELS
from core.ports import ArtefactStore
from core.prediction import Decision
from core.settings import Settings
from core.training import TrainingSpec
from workers.curation.gather import gather
from workers.curation.splits import linked_groups, split_for_final
from workers.evaluation.judge import Judgement
from workers.evaluation.metrics import SplitSizes
from workers.imaging.decode import ImageLimits
from workers.learning.checkpoints import Checkpoints
from workers.learning.fitting import fit
from workers.learning.input_pipeline import DecodedSet
from workers.learning.judging import Part, judge_test, learn_doubt
from workers.learning.reading import read_slices
from workers.learning.runtime import configure_runtime

RESULTS: Final = Path(__file__).parent / "results"
LINES: Final = RESULTS / "cross_source.jsonl"
TABLE: Final = RESULTS / "cross_source.md"
SCORES: Final = (
    "accuracy",
    "macro_f1",
    "sensitivity",
    "specificity",
    "ece",
    "coverage",
    "accepted_accuracy",
)


def main() -> None:
    arguments = parse()
    if arguments.train:
        run(arguments)
    TABLE.write_text(table())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, nargs="+", default=[])
    parser.add_argument("--test", type=Path, nargs="+", default=[])
    add_training_arguments(parser)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    spec = recipe(arguments.set)
    settings, store = work_place(arguments.work)
    folder = settings.data_dir / "-".join(p.name for p in (*arguments.train, *arguments.test))
    gather([*arguments.train, *arguments.test], folder)
    items = items_of(folder, settings, store)
    known, foreign = apart(items, {p.name for p in arguments.train})
    configure_runtime(arguments.threads)
    data = read_slices(items, spec, say_everything(), store, ImageLimits.of(settings))
    job = f"{folder.name}-{recipe_name(spec)}"
    judgement = judged(spec, known, foreign, data, job, store, settings)
    keep(arguments, spec, len(known), judgement)


def apart(
    items: Sequence[DatasetItem], sources: set[str]
) -> tuple[list[DatasetItem], list[DatasetItem]]:
    """Slices of these sources, and slices of others that no group links to them."""
    known, foreign = [], []
    for group in linked_groups(items):
        inside = [item for item in group if item.path.split("/")[0] in sources]
        known += inside
        foreign += [] if inside else group
    return known, foreign


def judged(
    spec: TrainingSpec,
    known: Sequence[DatasetItem],
    foreign: Sequence[DatasetItem],
    data: DecodedSet,
    job: str,
    store: ArtefactStore,
    settings: Settings,
) -> Judgement:
    """Train on what is known, and judge the answers to what is foreign."""
    plan = split_for_final(known, validation_share=spec.validation_share, seed=spec.seed)
    fitted = fit(
        spec,
        data.slices(plan.train),
        data.slices(plan.validation),
        checkpoints=Checkpoints(store, job),
        settings=settings,
        hooks=say_everything(),
    )
    train, validation, test = (
        Part.of(items, data, fitted.inference) for items in (plan.train, plan.validation, foreign)
    )
    return judge_test(
        test,
        learn_doubt(fitted.inference, train, validation, spec.target_risk),
        sizes=SplitSizes(train=len(plan.train), validation=len(plan.validation), test=len(foreign)),
        protocol="another source",
        control_accuracy=None,
        seed=spec.seed,
    )


def keep(
    arguments: argparse.Namespace, spec: TrainingSpec, known: int, judgement: Judgement
) -> None:
    found = judgement.evaluation
    line = {
        "train": [folder.name for folder in arguments.train],
        "test": [folder.name for folder in arguments.test],
        "recipe": recipe_name(spec),
        "spec": asdict(spec),
        "known": known,
        "classes": {label: sum(row) for label, row in zip(LABELS, found.confusion, strict=True)},
        "scores": {name: getattr(found, name) for name in SCORES},
        "intervals": {n: asdict(i) for n, i in found.intervals.items() if n in SCORES},
        "decisions": {d: judgement.decisions[d] for d in Decision},
        **provenance(),
    }
    with LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def table() -> str:
    """The newest line of each pair of sources and recipe."""
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        newest[(*line["train"], "", *line["test"], line["recipe"])] = line
    rows = [
        "# On another source\n",
        "Made by `python -m benchmarks.cross_source`; see its docstring for the protocol.\n",
        "| trained on | slices | tested on | slices of each class | "
        + " | ".join(SCORES)
        + " | refused as strange | recipe | what in it is no default | date | commit | machine |",
        "| --- | --- | --- | --- |" + " --- |" * (len(SCORES) + 6),
        *(row(line) for _, line in sorted(newest.items())),
    ]
    return "\n".join(rows) + "\n"


def row(line: dict[str, Any]) -> str:
    classes = ", ".join(f"{label} {count}" for label, count in line["classes"].items() if count)
    tested = sum(line["classes"].values())
    cells = [
        ", ".join(line["train"]),
        str(line["known"]),
        ", ".join(line["test"]),
        classes,
        *(score(line, name) for name in SCORES),
        f"{line['decisions'][Decision.OUT_OF_DISTRIBUTION] / tested:.3f}",
        line["recipe"][-10:],
        not_default(line["spec"]),
        *(line[name] for name in ("date", "commit", "machine")),
    ]
    return f"| {' | '.join(cells)} |"


def score(line: dict[str, Any], name: str) -> str:
    value, interval = line["scores"].get(name), line["intervals"].get(name)
    between = f" ({interval['low']:.3f}-{interval['high']:.3f})" if interval else ""
    return "none" if value is None else f"{value:.4f}{between}"


if __name__ == "__main__":
    main()
