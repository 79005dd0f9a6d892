"""Data sets: importing, listing and deleting them. Uploads are in ``upload.py``."""

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

from core.datasets import Dataset, OnBadFile, audit_page_key, check_dataset_id
from core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InUse,
    InvalidArgument,
    NotFound,
    RequestIdReused,
)
from core.messages import IngestRequest, IngestSource
from core.paging import Page, PageRequest
from core.ports import ArtefactStore, DatasetIngestor, UnitOfWorkFactory
from core.source_names import dataset_id_from
from services.usecases.artefacts import read_checked
from services.usecases.request_ids import check_request_id

MAX_URI: Final = 2000


class DatasetUseCases:
    """Everything about data sets but uploading them."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        artefacts: ArtefactStore,
        ingestor: DatasetIngestor,
        ingest_timeout: float,
    ) -> None:
        self._uow_factory = uow_factory
        self._artefacts = artefacts
        self._ingestor = ingestor
        self._ingest_timeout = ingest_timeout

    def import_request(
        self, uri: str, *, dataset_id: str, on_bad_file: OnBadFile, caller: str, request_id: str
    ) -> Dataset | IngestRequest:
        """What a worker has to do, or the data set that this request made before.

        Without an id the data set takes it from the URI's last part. Raises ``InvalidArgument``,
        ``AlreadyExists``, ``RequestIdReused``.
        """
        _check_uri(uri)
        known_id = check_request_id(request_id)
        dataset_id = check_dataset_id(dataset_id or id_from_uri(uri))
        origin = _without_secrets(uri)
        earlier = made_before(self._uow_factory, dataset_id, origin, caller, known_id)
        return earlier or IngestRequest(
            id=uuid4().hex,
            reply_to="",  # the ingestor knows its own
            dataset_id=dataset_id,
            source=IngestSource.URI,
            location=uri,
            origin=origin,
            on_bad_file=on_bad_file,
            request_id=known_id,
            caller=caller,
        )

    async def ingest(self, request: IngestRequest) -> str:
        """The id of the data set once a worker has accepted it. Raises what the worker did."""
        return await self._ingestor.ingest(request, self._ingest_timeout)

    def get(self, dataset_id: str) -> Dataset:
        """Raises ``NotFound``."""
        with self._uow_factory() as uow:
            return uow.datasets.get(dataset_id)

    def get_with_same_as(self, dataset_id: str) -> tuple[Dataset, tuple[str, ...]]:
        """The data set, and ids of others that hold the same data. Raises ``NotFound``."""
        with self._uow_factory() as uow:
            dataset = uow.datasets.get(dataset_id)
            return dataset, uow.datasets.same_as(dataset)

    def list(self, page: PageRequest) -> Page[Dataset]:
        with self._uow_factory() as uow:
            return uow.datasets.list(page)

    def audit_page(self, dataset_id: str) -> bytes:
        """The data set's audit, a page of HTML.

        Raises ``NotFound``, ``ArtefactCorrupt``, and ``FailedPrecondition`` for a data set from
        before there were audits.
        """
        dataset = self.get(dataset_id)
        if dataset.audit is None:
            raise FailedPrecondition(
                f"{dataset.name} was accepted before there were audits. Upload it under another "
                "name to have it audited."
            )
        page_sha256 = dataset.audit.page_sha256
        key = audit_page_key(dataset.digest, page_sha256)
        return read_checked(self._artefacts, key, page_sha256)

    def delete(self, dataset_id: str) -> None:
        """Remove the data set. Its pictures stay: other data sets may hold the same ones.

        Raises ``NotFound``, and ``InUse`` while an unfinished training job needs it.
        """
        with self._uow_factory(write=True) as uow:
            # Locked before its jobs are read: one that is submitted now waits, and is told.
            dataset = uow.datasets.lock(dataset_id)
            jobs = uow.jobs.unfinished_on(dataset_id)
            if jobs:
                raise InUse(dataset.name, jobs[0].name)
            uow.datasets.delete(dataset_id)
            uow.commit()


def made_before(
    uow_factory: UnitOfWorkFactory,
    dataset_id: str,
    origin: str,
    caller: str,
    request_id: str | None,
) -> Dataset | None:
    """The data set that the same request made before; None if the id is free.

    Raises ``RequestIdReused`` if that request was for another data set or another source,
    ``AlreadyExists``.
    """
    with uow_factory() as uow:
        if request_id is not None:
            earlier = uow.datasets.find_by_request(caller, request_id)
            if earlier is not None and not earlier.answers(dataset_id, origin):
                raise RequestIdReused(request_id)
            if earlier is not None:
                return earlier
        try:
            taken = uow.datasets.get(dataset_id)
        except NotFound:
            return None
    raise AlreadyExists(taken.name)


def id_from_uri(uri: str) -> str:
    """A data set id made of the URI's last part, without an archive's suffix."""
    last = (
        PurePosixPath(unquote(urlsplit(uri).path)).name or urlsplit(uri).netloc.rpartition("@")[2]
    )
    name = dataset_id_from(last)
    if not name:
        raise InvalidArgument.of("dataset_id", "give one: the URI's last part has no name in it")
    return name


def _check_uri(uri: str) -> None:
    try:
        has_scheme = bool(urlsplit(uri).scheme)
    except ValueError as exc:
        raise InvalidArgument.of("uri", "is not a URI") from exc
    if not has_scheme or len(uri) > MAX_URI or not uri.isprintable():
        raise InvalidArgument.of("uri", "must be a URI such as file:///folder/on/the/server")
    if "::" in uri:
        raise InvalidArgument.of("uri", "must name one place, not a chain of them")


def _without_secrets(uri: str) -> str:
    """The URI as it may be shown to others: no password, and no signature in its query."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
