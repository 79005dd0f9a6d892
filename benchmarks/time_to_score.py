"""How soon a job reaches what a plain Keras fine-tune reaches.

``python -m benchmarks.time_to_score DATA``, where DATA is a folder of slices with a
``manifest.csv`` (path, label, group). On one grouped fold, in one run on one machine, alternating:

* plain: what a tutorial does. The network as ``keras.applications`` or this project builds it, with
  Keras' own layers, from the same first weights; pooling, dropout and a dense layer; pictures read
  and decoded by ``tf.data`` in every epoch, no cache; flips, small turns and shifts; ``compile``
  and ``fit`` with AdamW and a cosine.
* ours: what a training job does, from decoding to the epoch in question.

Each is timed until its macro-F1 on the fold's slices first reaches the plain one's best, both
judged after every epoch; the judging is not timed in the plain one, and is in ours. Nothing is
chosen by these scores but the point of comparison. Pairs add lines to
``results/time_to_score.jsonl``; ``time_to_score.md`` tells them.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.classification import FOLDS
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
from core.settings import Settings
from core.training import QUICK, EpochProgress, TrainingSpec
from workers.curation.splits import SplitPlan, fold_plans
from workers.evaluation.metrics import macro_f1
from workers.imaging.decode import ImageLimits
from workers.learning.backbones import BACKBONES, set_backbone_weights
from workers.learning.checkpoints import Checkpoints
from workers.learning.fitting import fit
from workers.learning.reading import read_slices
from workers.learning.runtime import configure_runtime
from workers.learning.weights import start_weights
from workers.training_hooks import TrainingHooks

RESULTS: Final = Path(__file__).parent / "results"
LINES: Final = RESULTS / "time_to_score.jsonl"
TABLE: Final = RESULTS / "time_to_score.md"
PLAIN_EPOCHS: Final = 8
PLAIN_RATE: Final = 6e-4

Curve = list[tuple[float, float]]
"""Seconds since the beginning, and the macro-F1 by then, after each epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--plain-size", type=int, default=160, help="side of its pictures")
    parser.add_argument("--quick", action="store_true", help="as `braintumor train --quick`")
    add_training_arguments(parser)
    arguments = parser.parse_args()
    if arguments.data is not None:
        run(arguments)
    TABLE.write_text(table())


def run(arguments: argparse.Namespace) -> None:
    spec = recipe(arguments.set, **(QUICK if arguments.quick else {}))
    settings, store = work_place(arguments.work)
    items = items_of(arguments.data, settings, store)
    plans = fold_plans(items, folds=FOLDS, validation_share=spec.validation_share, seed=0)
    plan = plans[arguments.fold - 1]
    configure_runtime(arguments.threads)
    for _ in range(arguments.pairs):
        plain_curve = plain(plan, arguments.data, spec, settings, arguments.plain_size)
        our_curve = ours(plan, spec, settings, store)
        keep(arguments, spec, plain_curve, our_curve)


def plain(plan: SplitPlan, data: Path, spec: TrainingSpec, settings: Settings, size: int) -> Curve:
    """The tutorial's way."""
    keras.utils.set_random_seed(spec.seed)
    started, judged = time.monotonic(), 0.0
    curve: Curve = []
    train = plain_pictures(plan.train, data, size).shuffle(len(plan.train))
    train = train.batch(spec.batch_size).prefetch(tf.data.AUTOTUNE)
    test = plain_pictures(plan.test, data, size).batch(spec.batch_size)
    labels = numbers(plan.test)
    model = plain_model(spec, settings, size)
    steps = PLAIN_EPOCHS * math.ceil(len(plan.train) / spec.batch_size)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(PLAIN_RATE, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def judge(_epoch: int, _logs: object) -> None:
        nonlocal judged
        begun = time.monotonic()
        score = macro_f1(labels, model.predict(test, verbose=0).argmax(axis=1))
        curve.append((begun - started - judged, score))
        judged += time.monotonic() - begun
        print(f"plain {curve[-1][0]:.0f} s {score:.4f}", flush=True)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=judge)
    model.fit(train, epochs=PLAIN_EPOCHS, callbacks=[callback], verbose=0)
    return curve


def plain_pictures(items: Sequence[DatasetItem], data: Path, size: int) -> tf.data.Dataset:
    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(picture, (size, size)), label

    paths = [str(data / item.path) for item in items]
    pairs = tf.data.Dataset.from_tensor_slices((paths, numbers(items)))
    return pairs.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def numbers(items: Sequence[DatasetItem]) -> np.ndarray:
    return np.array([LABELS.index(item.label) for item in items], np.int64)


def plain_model(spec: TrainingSpec, settings: Settings, size: int) -> keras.Model:
    network = BACKBONES[spec.backbone]
    backbone = network.build(include_top=False, weights=None, input_shape=(None, None, 3))
    values = start_weights(spec, settings).values
    if values is not None:
        set_backbone_weights(backbone, values)
    pixels = layers.Input((size, size, 3))
    changed = layers.RandomFlip("horizontal")(pixels)
    changed = layers.RandomRotation(0.04, fill_mode="constant")(changed)
    changed = layers.RandomTranslation(0.1, 0.1, fill_mode="constant")(changed)
    pooled = layers.GlobalAveragePooling2D()(backbone(network.normalise(changed)))
    return keras.Model(pixels, layers.Dense(len(LABELS))(layers.Dropout(0.2)(pooled)))


def ours(plan: SplitPlan, spec: TrainingSpec, settings: Settings, store: ArtefactStore) -> Curve:
    """The job's way. Its judging, on the fold instead of a validation part, is timed with it."""
    keras.utils.set_random_seed(spec.seed)
    keras.backend.clear_session()
    started = time.monotonic()
    curve: Curve = []

    def on_epoch(epoch: EpochProgress) -> None:
        curve.append((time.monotonic() - started, epoch.val_macro_f1 or 0.0))
        print(f"ours {curve[-1][0]:.0f} s {curve[-1][1]:.4f}", flush=True)

    hooks = TrainingHooks(
        on_epoch=on_epoch,
        on_progress=lambda _share, _stage: None,
        on_message=lambda _message: None,
        should_stop=lambda: False,
    )
    items = (*plan.train, *plan.test)
    data = read_slices(items, spec, say_everything(), store, ImageLimits.of(settings))
    fit(
        spec,
        data.slices(plan.train),
        data.slices(plan.test),
        checkpoints=Checkpoints(store, uuid4().hex),
        settings=settings,
        hooks=hooks,
    )
    return curve


def keep(
    arguments: argparse.Namespace, spec: TrainingSpec, plain_curve: Curve, our_curve: Curve
) -> None:
    line = {
        "data": arguments.data.name,
        "fold": arguments.fold,
        "plain_size": arguments.plain_size,
        "recipe": recipe_name(spec),
        "spec": asdict(spec),
        "plain": plain_curve,
        "ours": our_curve,
        **provenance(),
    }
    with LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def reached(curve: Sequence[Sequence[float]], score: float) -> float | None:
    """Seconds until the score was first reached; None for never."""
    return next((seconds for seconds, found in curve if found >= score), None)


def table() -> str:
    rows = [
        "# Time to what a plain fine-tune reaches\n",
        "Made by `python -m benchmarks.time_to_score`; see its docstring.\n",
        "| fold | side of the plain one's pictures | macro-F1 | plain, seconds | ours, seconds "
        "| times faster | ours at its end | recipe | what in it is no default "
        "| date | commit | machine |",
        "| --- |" + " --- |" * 11,
    ]
    lines = LINES.read_text().splitlines() if LINES.exists() else []
    rows += [row(json.loads(text)) for text in lines]
    return "\n".join(rows) + "\n"


def row(line: dict[str, Any]) -> str:
    score = max(found for _, found in line["plain"])
    theirs, mine = reached(line["plain"], score), reached(line["ours"], score)
    assert theirs is not None
    cells = [
        line["fold"],
        line["plain_size"],
        f"{score:.4f}",
        f"{theirs:.0f}",
        "not reached" if mine is None else f"{mine:.0f}",
        "" if mine is None else f"{theirs / mine:.2f}",
        f"{line['ours'][-1][1]:.4f} at {line['ours'][-1][0]:.0f} s",
        line["recipe"],
        not_default(line["spec"]),
        *(line[name] for name in ("date", "commit", "machine")),
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
