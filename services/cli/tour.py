"""The steps that ``quickstart`` shows, each over gRPC as any user would take it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from braintumor.v1 import datasets_pb2, models_pb2, training_pb2

from core.errors import FailedPrecondition
from core.settings import Settings
from services.cli import audit, datasets
from services.cli.aliases import move_alias, serving_alias
from services.cli.classify_run import ClassifyRun, Wishes
from services.cli.jobs import recipe_text
from services.cli.options import DEFAULT_ADDRESS, resource
from services.cli.refusals import ServerRefused
from services.cli.session import Session
from services.cli.synthetic import write_dataset
from services.cli.train import submit
from services.cli.upload import plan_upload
from services.cli.watch import watch_job

DATASET: Final = "synthetic"
PER_CLASS: Final = 120
UNSEEN_PER_CLASS: Final = 2
SIZE: Final = 192
RECIPE: Final[Mapping[str, Any]] = {
    "backbone": "efficientnet_b0",
    "weights": "auto",
    "image_size": 64,
    "batch_size": 16,
    "epochs": 10,
    "learning_rate": 2e-3,
    "augmentation": False,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
}
"""About two minutes on two cores. It learns from nothing too, where ImageNet's weights cannot be
had; what keeps a long run from learning by heart would only slow down so short a one."""


class Tour:
    """One walk through the system. Files it makes are in the data folder."""

    def __init__(self, connected: Session, settings: Settings) -> None:
        self._connected = connected
        self._client = connected.client
        self._out = connected.out
        self._settings = settings

    def walk(self) -> None:
        """Every step. Raises ``ServerRefused``, ``FailedPrecondition`` or ``OSError``."""
        self._heading("Synthetic scans (they teach nothing about real tumours)")
        self._upload()
        self._heading(f"Training: {recipe_text(RECIPE)}")
        version = self._train()
        self._heading("Promotion")
        self._promote(version)
        self._heading("Classification of scans it has never seen")
        self._classify()
        self._heading("The audit log")
        self._audit()
        self._heading("Try next, in another terminal")
        self._say_what_next(version)

    def _heading(self, text: str) -> None:
        self._out.line()
        self._out.line(f"{text}:")

    def _upload(self) -> None:
        folder = self._settings.data_dir / "synthetic"
        write_dataset(folder, PER_CLASS, SIZE, seed=0)
        try:
            dataset = datasets.send(self._connected, plan_upload(folder), DATASET, skip_bad=False)
        except ServerRefused as error:
            if error.refusal.status != "ALREADY_EXISTS":
                raise
            request = datasets_pb2.GetDatasetRequest(name=resource("datasets", DATASET))
            dataset = self._client.call(self._client.datasets.GetDataset, request).dataset
            self._out.line("They are on the server already, from the last time.")
        datasets.show_dataset(self._out, dataset)

    def _train(self) -> str:
        job = submit(self._connected, resource("datasets", DATASET), RECIPE)
        if watch_job(self._connected, job.name) != 0:
            raise FailedPrecondition(f"Training did not succeed: {job.name}.")
        request = training_pb2.GetTrainingJobRequest(name=job.name)
        done = self._client.call(self._client.training.GetTrainingJob, request).training_job
        return done.model_version

    def _promote(self, name: str) -> None:
        found = models_pb2.GetModelVersionRequest(name=name)
        version = self._client.call(self._client.models.GetModelVersion, found).model_version
        promotion = models_pb2.PromoteModelVersionRequest(name=name, reason="quickstart")
        method = self._client.models.PromoteModelVersion
        move_alias(self._connected, method, promotion, serving_alias(version))
        numbers = version.evaluation
        self._out.line(f"It started from these weights: {version.weights_source}.")
        self._out.line(
            f"On {numbers.test_size} scans that were held out: accuracy {numbers.accuracy:.3f}, "
            f"macro F1 {numbers.macro_f1:.3f}."
        )
        self._out.line(f"{name} answers from the next request on.")

    def _classify(self) -> None:
        folder = self._settings.data_dir / "unseen"
        pictures = write_dataset(folder, UNSEEN_PER_CLASS, SIZE, seed=1)
        run = ClassifyRun(self._connected, Wishes(overlay_dir=self._settings.data_dir / "overlays"))
        if run.run(pictures) != 0:
            raise FailedPrecondition("Some scans were not classified; see the table above.")

    def _audit(self) -> None:
        rows = list(audit.predictions(self._connected, "", limit=4 * UNSEEN_PER_CLASS))
        audit.show_predictions(self._out, rows)
        found = audit.verified(self._connected)
        if not found["intact"]:
            raise FailedPrecondition(f"The audit log is broken: {found['problem']}.")
        self._out.line()
        self._out.line(f"The hash chain is intact: {found['rows_checked']} rows checked.")

    def _say_what_next(self, version: str) -> None:
        for line in next_commands(self._client.address, self._settings.data_dir, version):
            self._out.line(f"  {line}")


def next_commands(address: str, data_dir: Path, version: str) -> Sequence[str]:
    """Commands that continue where the tour ends."""
    where = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    short = version.removeprefix("modelVersions/")
    scan = data_dir / "unseen" / "glioma"
    commands = (
        f"braintumor classify {shlex.quote(str(scan))} --json",
        f"braintumor models show {short}",
        f"braintumor models report {short} --output report.html",
        "braintumor audit list --filter 'label = \"glioma\"'",
        "braintumor datasets upload YOUR_SCANS --name mine   # a folder for each class",
        "braintumor train --dataset mine --watch",
    )
    return [_with_address(command, where) for command in commands]


def _with_address(command: str, where: str) -> str:
    text, separator, comment = command.partition("   #")
    return f"{text}{where}{separator}{comment}"
