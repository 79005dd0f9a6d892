"""The one place that wires the gateway to the store and to its adapters."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.ports import (
    ArtefactStore,
    Clock,
    DatasetIngestor,
    JobQueue,
    ModelPreloader,
    UnitOfWorkFactory,
)
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import check_schema
from db.unit_of_work import SqlUnitOfWorkFactory
from services.adapters.audit_writer import GroupCommitAuditWriter
from services.adapters.broker import CeleryDatasetIngestor, CeleryJobQueue, WorkChannel
from services.adapters.prediction_cache import RedisPredictionCache
from services.adapters.predictor import MicroBatchingPredictor
from services.adapters.preloading import RedisModelPreloader
from services.drain import Drain
from services.long_work import LongWork
from services.sweeper import Sweeper
from services.usecases.classify import ClassifyUseCase
from services.usecases.staging import Staging


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Deps:
    """Everything that the gateway stands on."""

    settings: Settings
    clock: Clock
    uow_factory: UnitOfWorkFactory
    artefacts: ArtefactStore
    queue: JobQueue
    preloader: ModelPreloader
    ingestor: DatasetIngestor
    classify: ClassifyUseCase
    staging: Staging
    drain: Drain
    long_work: LongWork
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def close(self) -> None:
        """End what :func:`connect` began: what came last goes first."""
        await self.closing.aclose()


async def connect(settings: Settings) -> Deps:
    """Dependencies for real. The broker may be away; it is connected to when it comes.

    Raises ``StoreUnavailable``, ``InvalidArgument`` for a URL of no use, and
    ``FailedPrecondition`` if the database has no schema, or that of an older version.
    """
    async with AsyncExitStack() as closing:
        uow_factory = await asyncio.to_thread(_store, settings)
        closing.callback(uow_factory.close)
        artefacts = FsspecArtefactStore(settings.artefact_url)
        clock = SystemClock()
        long_work = LongWork()
        closing.push_async_callback(asyncio.to_thread, long_work.close)
        queue = CeleryJobQueue(settings)
        closing.callback(queue.close)
        preloader = RedisModelPreloader(settings)
        closing.callback(preloader.close)
        channel = WorkChannel(settings)
        classify = _classify(settings, closing, channel, uow_factory, clock)
        await channel.start()
        closing.push_async_callback(channel.close)
        return Deps(
            settings=settings,
            clock=clock,
            uow_factory=uow_factory,
            artefacts=artefacts,
            queue=queue,
            preloader=preloader,
            ingestor=CeleryDatasetIngestor(
                channel, pickup_timeout=settings.ingest_pickup_timeout_seconds
            ),
            classify=classify,
            staging=Staging(artefacts=artefacts, clock=clock),
            drain=Drain(),
            long_work=long_work,
            closing=closing.pop_all(),
        )


def make_sweeper(deps: Deps) -> Sweeper:
    return Sweeper(
        uow_factory=deps.uow_factory,
        queue=deps.queue,
        artefacts=deps.artefacts,
        staging=deps.staging,
        clock=deps.clock,
        every_seconds=deps.settings.sweep_seconds,
        stale_seconds=deps.settings.training_stale_seconds,
        max_attempts=deps.settings.training_max_attempts,
        temporary_folder=Path(tempfile.gettempdir()),
    )


def software_version() -> str:
    """The installed version of this software, for the audit log."""
    try:
        return version("braintumor")
    except PackageNotFoundError:  # run from a folder that was copied
        return "unknown"


def _store(settings: Settings) -> SqlUnitOfWorkFactory:
    check_schema(settings.database_url)
    return SqlUnitOfWorkFactory(create_store_engine(settings.database_url))


def _classify(
    settings: Settings,
    closing: AsyncExitStack,
    channel: WorkChannel,
    uow_factory: UnitOfWorkFactory,
    clock: Clock,
) -> ClassifyUseCase:
    # Closed from below upwards: the channel fails what waits, then the last rows are written.
    audit = GroupCommitAuditWriter(uow_factory)
    closing.push_async_callback(audit.close)
    predictor = MicroBatchingPredictor(
        channel,
        max_batch_size=settings.max_batch_size,
        max_batches=settings.max_batches_in_flight,
        pickup_timeout=settings.pickup_timeout_seconds,
    )
    cache = _prediction_cache(settings)
    if cache is not None:
        closing.push_async_callback(cache.close)
    use_case = ClassifyUseCase(
        predictor=predictor,
        audit=audit,
        uow_factory=uow_factory,
        clock=clock,
        software_version=software_version(),
        max_image_bytes=settings.max_image_bytes,
        max_in_flight=settings.max_requests_in_flight,
        max_bytes_in_flight=settings.max_bytes_in_flight,
        timeout_seconds=settings.inference_timeout_seconds,
        cache=cache,
    )
    closing.push_async_callback(use_case.close)
    closing.push_async_callback(predictor.close)
    return use_case


def _prediction_cache(settings: Settings) -> RedisPredictionCache | None:
    if settings.result_cache_seconds == 0:
        return None
    # What answers depend on and no model version says. Workers are taken to be set up alike.
    made_with = (
        software_version(),
        settings.inference_device,
        settings.inference_precision,
        str(settings.max_image_pixels),
    )
    return RedisPredictionCache(settings, made_with=" ".join(made_with))
