"""Which version a job goes on from is checked when the job is submitted."""

import json
from hashlib import sha256
from typing import Any

import pytest

from core.errors import InvalidArgument, NotFound
from core.registry import artefact_prefix
from core.training import Backbone, StartVersion, Task, TrainingSpec
from services.usecases.going_on import with_start_version
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeArtefactStore, FakeUnitOfWorkFactory

WHOLE = ("model.onnx", "model.weights.h5", "lineage.json")


class World:
    """A registry, and artefacts of which only the manifests matter."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.artefacts = FakeArtefactStore()

    def add(self, name: str = "v1", *, files: tuple[str, ...] = WHOLE, **changes: Any) -> str:
        text = json.dumps({"name": name, "files": dict.fromkeys(files, "f" * 64)}).encode()
        digest = sha256(text).hexdigest()
        self.artefacts.put(f"{artefact_prefix(digest)}/manifest.json", text)
        with self.store(write=True) as uow:
            uow.models.add(a_model_version(name, digest=digest, **changes))
            uow.commit()
        return digest

    def resolved(self, weights: str = "version:v1", **changes: Any) -> TrainingSpec:
        spec = TrainingSpec.validated({"weights": weights} | changes)
        return with_start_version(spec, self.store, self.artefacts)

    def refusal(self, weights: str = "version:v1", /, **changes: Any) -> str:
        with pytest.raises(InvalidArgument) as caught:
            self.resolved(weights, **changes)
        return "; ".join(f"{v.field}: {v.description}" for v in caught.value.violations)


@pytest.fixture
def world() -> World:
    return World()


def test_the_job_says_what_it_started_from_by_its_hash(world: World) -> None:
    digest = world.add()
    spec = world.resolved()
    assert spec.weights == f"version:v1#sha256={digest}"
    assert StartVersion.of(spec.weights) == StartVersion(id="v1", digest=digest)
    assert world.resolved(spec.weights) == spec


def test_other_starts_are_left_alone(world: World) -> None:
    assert world.resolved("package").weights == "package"


def test_a_version_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.resolved("version:nowhere")


def test_another_hash_is_refused(world: World) -> None:
    digest = world.add()
    assert digest in world.refusal(f"version:v1#sha256={'0' * 64}")


def test_the_backbone_must_be_the_versions(world: World) -> None:
    world.add(backbone=Backbone.VGG19)
    assert world.refusal() == "training_job.spec.backbone: must be vgg19, as that of version v1"
    assert world.resolved(backbone="vgg19").backbone is Backbone.VGG19


def test_a_segmenter_may_go_on_from_either_and_a_classifier_not_from_a_segmenter(
    world: World,
) -> None:
    world.add("c")
    world.add("s", task=Task.SEGMENTATION)
    for name in ("c", "s"):
        assert world.resolved(f"version:{name}", task="segmentation").task is Task.SEGMENTATION
    assert "s is a segmenter" in world.refusal("version:s")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (WHOLE[:1], "came without its weights"),
        (WHOLE[::2], "came without its weights"),
        (WHOLE[:2], "made before versions kept what they had learned from"),
    ],
)
def test_a_version_without_what_is_needed_is_refused(
    world: World, files: tuple[str, ...], words: str
) -> None:
    world.add(files=files)
    refusal = world.refusal()
    assert refusal.startswith("training_job.spec.weights: v1 ")
    assert words in refusal


@pytest.mark.parametrize("field", ["folds", "head_epochs"])
def test_what_would_undo_the_start_is_refused(world: World, field: str) -> None:
    assert f"spec.{field}: must be 0 with weights=version" in world.refusal(
        "version:v1", **{field: 5}
    )
