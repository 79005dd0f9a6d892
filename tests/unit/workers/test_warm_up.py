"""A worker loads what it will be asked for first, and starts even if it cannot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import ArtefactCorrupt, StoreUnavailable
from core.registry import PRODUCTION, SEGMENTATION, ModelVersion
from core.settings import Settings
from core.training import Task
from tests.fakes.graphs import brightness_manifest
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory
from workers.context import WorkerContext
from workers.inference.runtime import Outputs
from workers.inference.sessions import LoadedModel, ModelSessions
from workers.warm_up import warm_up


class NoRuntime:
    name = "none"
    preferred_batch = 1

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        raise NotImplementedError


class Stack:
    """A worker whose models load at once, or fail with ``error``."""

    def __init__(self) -> None:
        self.uow_factory = FakeUnitOfWorkFactory()
        self.loaded: list[str] = []
        self.error: Exception | None = None
        self.context = WorkerContext(Settings.from_environment({}), "w1")
        # What the context would otherwise build at its first use.
        vars(self.context).update(
            uow_factory=self.uow_factory, sessions=ModelSessions(self._load, capacity=2)
        )

    def _load(self, digest: str) -> LoadedModel:
        self.loaded.append(digest)
        if self.error is not None:
            raise self.error
        return LoadedModel(manifest=brightness_manifest(), runtime=NoRuntime())

    def promote(self, version: ModelVersion, alias: str = PRODUCTION) -> None:
        with self.uow_factory(write=True) as uow:
            uow.models.add(version)
            uow.models.move_alias(alias, version.id, FakeClock().now(), "ann", "better")
            uow.commit()


@pytest.fixture
def stack() -> Stack:
    return Stack()


def test_the_production_model_is_loaded(stack: Stack) -> None:
    stack.promote(a_model_version("m1"))
    stack.promote(a_model_version("m2"))
    stack.promote(a_model_version("m3"), alias="candidate")
    warm_up(stack.context)
    assert stack.loaded == [a_model_version("m2").digest]


def test_the_segmenter_is_loaded_too_even_beside_a_corrupt_classifier(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.promote(a_model_version("m1"))
    stack.promote(a_model_version("s1", task=Task.SEGMENTATION), alias=SEGMENTATION)
    stack.error = ArtefactCorrupt("models/d1")
    warm_up(stack.context)
    assert stack.loaded == [a_model_version(name).digest for name in ("m1", "s1")]
    assert caplog.text.count("warm_up_failed") == 2


def test_the_first_caller_does_not_wait_for_it(stack: Stack) -> None:
    version = a_model_version("m1")
    stack.promote(version)
    warm_up(stack.context)
    stack.context.batch_runner.sessions.get(version.digest)
    assert stack.loaded == [version.digest]


def test_a_worker_starts_before_anything_is_promoted(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    warm_up(stack.context)
    assert stack.loaded == []
    assert caplog.text == ""


def test_a_worker_starts_with_a_corrupt_model(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.error = ArtefactCorrupt("models/d1")
    stack.promote(a_model_version("m1"))
    warm_up(stack.context)
    assert "warm_up_failed reason=ARTEFACT_CORRUPT message=models/d1" in caplog.text


def test_a_worker_starts_with_a_graph_that_its_runtime_cannot_read(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.error = RuntimeError("it has an operation that I do not know")
    stack.promote(a_model_version("m1"))
    warm_up(stack.context)
    assert "it has an operation" in caplog.text


def test_a_worker_starts_without_the_store(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    stack.uow_factory.error = StoreUnavailable()
    warm_up(stack.context)
    assert "warm_up_failed reason=STORE_UNAVAILABLE" in caplog.text
