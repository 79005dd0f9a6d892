"""What a worker process needs, built once and only when it is needed."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from typing import Final

import redis

from core.messages import IngestRequest
from core.ports import ArtefactStore, UnitOfWorkFactory
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.curation.ingest import ingest
from workers.imaging.decode import ImageLimits
from workers.inference.batch import BatchRunner
from workers.inference.runtime import choose_runtime
from workers.inference.sessions import ModelSessions, load_model
from workers.leaving import is_leaving
from workers.preloading import Preloading
from workers.replies import Heartbeat, ReplyChannel
from workers.training_job import TrainingDeps, learn_with_tensorflow, search_with_tensorflow

WORKER_NAME_VARIABLE: Final = "BRAINTUMOR_WORKER_NAME"
"""Set by the worker's parent process at start; its children read it."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class WorkerContext:
    """Adapters wired to the settings, each at its first use.

    None of them survives a fork: a training child builds its own.
    """

    settings: Settings
    name: str

    @cached_property
    def clock(self) -> SystemClock:
        return SystemClock()

    @cached_property
    def store(self) -> ArtefactStore:
        return FsspecArtefactStore(self.settings.artefact_url)

    @cached_property
    def uow_factory(self) -> UnitOfWorkFactory:
        return SqlUnitOfWorkFactory(create_store_engine(self.settings.database_url))

    @cached_property
    def replies(self) -> ReplyChannel:
        client = redis_client(self.settings)
        return ReplyChannel(client, self.name, on_unheard=self.heartbeat.falter)

    @cached_property
    def heartbeat(self) -> Heartbeat:
        return Heartbeat(redis_client(self.settings), self.name)

    @cached_property
    def sessions(self) -> ModelSessions:
        load = partial(load_model, self.store, choose_runtime(self.settings))
        return ModelSessions(load, capacity=self.settings.model_cache_size)

    @cached_property
    def preloading(self) -> Preloading:
        return Preloading(redis_client(self.settings), self.sessions.get)

    @cached_property
    def batch_runner(self) -> BatchRunner:
        limits = ImageLimits(
            max_bytes=self.settings.max_image_bytes, max_pixels=self.settings.max_image_pixels
        )
        streams = ThreadPoolExecutor(self.settings.inference_streams, thread_name_prefix="stream")
        return BatchRunner(self.sessions, limits, streams)

    @cached_property
    def ingest(self) -> Callable[[IngestRequest], str]:
        return partial(
            ingest,
            store=self.store,
            uow_factory=self.uow_factory,
            clock=self.clock,
            settings=self.settings,
        )

    @cached_property
    def training(self) -> TrainingDeps:
        return TrainingDeps(
            uow_factory=self.uow_factory,
            store=self.store,
            clock=self.clock,
            settings=self.settings,
            worker=self.name,
            learn=learn_with_tensorflow(self.store, self.settings),
            search=search_with_tensorflow(self.store, self.settings),
            is_leaving=is_leaving,
        )


@lru_cache(maxsize=1)
def context() -> WorkerContext:
    """This process's context. Not to be called before a fork."""
    return WorkerContext(Settings.from_environment(), worker_name())


def worker_name() -> str:
    """This start's name, which its heartbeat and its replies carry."""
    return os.environ.get(WORKER_NAME_VARIABLE, "unnamed")


def redis_client(settings: Settings) -> redis.Redis:
    """A client that gives up on a dead broker rather than wait for it."""
    return redis.Redis.from_url(
        settings.broker_url,
        socket_timeout=settings.broker_timeout_seconds,
        socket_connect_timeout=settings.broker_timeout_seconds,
    )
