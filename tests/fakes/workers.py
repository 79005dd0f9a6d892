"""Working fakes for what the gateway asks of workers."""

import json
from collections import deque
from collections.abc import Callable

from core.errors import BrainTumorError, BrokerUnavailable
from core.messages import IngestRequest, IngestSource
from core.ports import ArtefactStore, UnitOfWorkFactory
from tests.fakes.records import a_dataset


class FakeJobQueue:
    """Keeps what was sent; cannot be reached while ``away``.

    ``take_one`` is what a worker does, ``forget`` what a restart does.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.away = False
        self._messages: deque[str] = deque()

    def enqueue(self, job_id: str) -> None:
        if self.away:
            raise BrokerUnavailable()
        self.sent.append(job_id)
        self._messages.append(job_id)

    def waiting(self) -> frozenset[str]:
        if self.away:
            raise BrokerUnavailable()
        return frozenset(self._messages)

    def take_one(self) -> None:
        self._messages.popleft()

    def forget(self) -> None:
        self._messages.clear()


class FakePreloader:
    """Keeps what was to be loaded, and calls ``meanwhile`` before it returns."""

    def __init__(self) -> None:
        self.preloaded: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def preload(self, digest: str) -> None:
        self.preloaded.append(digest)
        self.meanwhile()


class FakeIngestor:
    """Accepts every data set, unless ``error`` is set; keeps the last upload's bytes by path."""

    def __init__(self, uow_factory: UnitOfWorkFactory, artefacts: ArtefactStore) -> None:
        self._uow_factory = uow_factory
        self._artefacts = artefacts
        self.error: BrainTumorError | None = None
        self.requests: list[IngestRequest] = []
        self.received: dict[str, bytes] = {}

    async def ingest(self, request: IngestRequest, timeout: float) -> str:
        assert timeout > 0
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if request.source is IngestSource.STAGED:
            self.received = self._read(request.location)
            self._artefacts.delete(request.location)
        with self._uow_factory(write=True) as uow:
            uow.datasets.add(
                a_dataset(
                    request.dataset_id,
                    caller=request.caller,
                    request_id=request.request_id,
                    source=request.origin,
                )
            )
            uow.commit()
        return request.dataset_id

    def _read(self, location: str) -> dict[str, bytes]:
        index = json.loads(self._artefacts.get(f"{location}/index.json"))
        files = {entry["path"]: self._artefacts.get(entry["key"]) for entry in index}
        assert [len(data) for data in files.values()] == [e["size_bytes"] for e in index]
        return files
