"""``braintumor train``."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from core.errors import InvalidArgument
from core.training import QUICK, Backbone, Task, TrainingSpec
from services.cli.options import DEFAULT_ADDRESS, Address, AsJson, resource, resource_id
from services.cli.session import Session, bad_usage, session
from services.cli.versions import WHAT_SERVES, version_name

if TYPE_CHECKING:
    from braintumor.v1 import training_pb2


GoOnFrom = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="V",
        help=f"The model version to go on from, or {WHAT_SERVES}; with its backbone, weights and "
        "image size.",
    ),
]
ChosenBackbone = Annotated[
    Backbone | None,
    typer.Option(
        "--backbone",
        help="The pretrained network to start from.",
        show_default=Backbone.EFFICIENTNET_B0,
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="For a first look at a data set: "
        + ", ".join(f"{name}={value}" for name, value in QUICK.items())
        + ". --set has the last word.",
    ),
]
SETTABLE: Final = sorted(f.name for f in fields(TrainingSpec) if f.name not in {"backbone", "task"})


def train(
    dataset: Annotated[str, typer.Option("--dataset", metavar="N", help="The data set.")],
    backbone: ChosenBackbone = None,
    go_on_from: GoOnFrom = "",
    task: Annotated[Task, typer.Option("--task", help="What to learn.")] = Task.CLASSIFICATION,
    quick: Quick = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"{', '.join(SETTABLE)}. Repeatable.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the job until it ends; exit 1 if it fails.")
    ] = False,
    request_id: Annotated[
        str, typer.Option("--request-id", metavar="UUID", help="Makes repeats answer alike.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Train a model on a data set: a new one, or --from one that there is."""
    from services.cli.jobs import show_submitted
    from services.cli.watch import watch_job

    recipe = recipe_of(backbone, task, settings or (), go_on_from, quick=quick)
    with session(address, as_json) as connected:
        recipe = from_version(connected, go_on_from) | recipe
        job = submit(connected, resource("datasets", dataset), recipe, request_id)
        if watch:
            connected.out.note(f"{job.name} is submitted.")
            raise typer.Exit(watch_job(connected, job.name))
        show_submitted(connected.out, job)


def submit(
    connected: Session,
    dataset: str,
    recipe: Mapping[str, Any],
    request_id: str = "",
    search: "training_pb2.SearchSpec | None" = None,
) -> "training_pb2.TrainingJob":
    """Submit a job for the data set of that full name. Raises ``ServerRefused``."""
    from functools import partial
    from uuid import uuid4

    from braintumor.v1 import training_pb2

    from services.cli.client import with_retries

    request = training_pb2.CreateTrainingJobRequest(
        training_job=training_pb2.TrainingJob(
            dataset=dataset, spec=spec_message(recipe), search=search
        ),
        request_id=request_id or str(uuid4()),
    )
    client = connected.client
    client.check_reachable()
    call = partial(client.call, client.training.CreateTrainingJob, request)
    return with_retries(call).training_job


def spec_message(recipe: Mapping[str, Any]) -> "training_pb2.TrainingSpec":
    """The recipe's message; what it does not name is left to the server."""
    from braintumor.v1 import training_pb2

    enums = {
        "backbone": (training_pb2.Backbone, "BACKBONE_"),
        "task": (training_pb2.Task, "TASK_"),
        "optimizer": (training_pb2.Optimizer, "OPTIMIZER_"),
        "batch_norm": (training_pb2.BatchNorm, "BATCH_NORM_"),
        "precision": (training_pb2.Precision, "PRECISION_"),
    }
    values = dict(recipe)
    for name, (enum, prefix) in enums.items():
        if name in values:
            values[name] = enum.Value(prefix + str(values[name]).upper())
    return training_pb2.TrainingSpec(**values)


def from_version(connected: Session, name: str) -> dict[str, Any]:
    """What the recipe of a training that goes on from this version has of it; nothing for none.

    Raises ``ServerRefused``.
    """
    from braintumor.v1 import models_pb2, training_pb2

    if not name:
        return {}
    client = connected.client
    request = models_pb2.GetModelVersionRequest(name=version_name(connected, name))
    version = client.call(client.models.GetModelVersion, request).model_version
    backbone = training_pb2.Backbone.Name(version.backbone).removeprefix("BACKBONE_").lower()
    recipe: dict[str, Any] = {
        "weights": f"version:{resource_id('modelVersions', version.name)}",
        "backbone": Backbone(backbone),
    }
    if version.spec.HasField("image_size"):
        recipe["image_size"] = version.spec.image_size
    return recipe


def recipe_of(
    backbone: Backbone | None,
    task: Task,
    settings: Sequence[str],
    go_on_from: str = "",
    *,
    quick: bool = False,
) -> dict[str, Any]:
    """What was given of a recipe. Raises ``typer.Exit`` for what cannot be used."""
    given: dict[str, Any] = {"task": task} | (dict(QUICK) if quick else {}) | pairs_of(settings)
    if quick and (go_on_from or task is not Task.CLASSIFICATION):
        raise bad_usage("--quick is for classifiers that begin anew: without --from and --task.")
    if go_on_from and "weights" in given:
        raise bad_usage("Give --from or --set weights=, not both: each says what to start from.")
    if backbone is not None:
        given["backbone"] = backbone
    try:
        spec = TrainingSpec.validated(given)
    except InvalidArgument as error:
        lines = (f"{v.field.removeprefix('spec.')}: {v.description}" for v in error.violations)
        raise bad_usage("--set cannot be used: " + "; ".join(lines)) from error
    return {name: getattr(spec, name) for name in given}


def pairs_of(
    settings: Sequence[str], option: str = "--set", example: str = "epochs=5"
) -> dict[str, str]:
    """Keys and values of a repeatable option. Raises ``typer.Exit`` for what is none."""
    pairs: dict[str, str] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise bad_usage(f"{option} {setting}: write it as key=value, for example {example}.")
        pairs[key.strip()] = value.strip()
    return pairs
