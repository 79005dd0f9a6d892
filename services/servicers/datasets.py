"""The Datasets service."""

# ruff: noqa: N802, ARG002 - gRPC names the methods and what they are given

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from braintumor.v1 import datasets_pb2, datasets_pb2_grpc
from google.protobuf.message import Message

from core.errors import BrainTumorError
from core.messages import IngestRequest
from services import converters
from services.call import current_call
from services.paging import next_page_token, page_request
from services.resource_names import DATASETS, parse_name
from services.usecases.datasets import DatasetUseCases
from services.usecases.upload import Part, UploadUseCase

HTML: Final = "text/html; charset=utf-8"
DISCARD_SECONDS: Final = 10.0
"""Longer than this the rest of a stream is not listened to."""


class DatasetsServicer(datasets_pb2_grpc.DatasetsServicer):
    def __init__(self, use_cases: DatasetUseCases, uploads: UploadUseCase) -> None:
        self._use_cases = use_cases
        self._uploads = uploads

    async def UploadDataset(
        self, request_iterator: AsyncIterator[datasets_pb2.UploadDatasetRequest], context: Any
    ) -> datasets_pb2.UploadDatasetResponse:
        caller = current_call().caller
        async with _read_to_the_end(request_iterator):
            dataset_id = await self._uploads.upload(_parts(request_iterator), caller)
        return datasets_pb2.UploadDatasetResponse(dataset=await self._described(dataset_id))

    async def ImportDataset(
        self, request: datasets_pb2.ImportDatasetRequest, context: Any
    ) -> datasets_pb2.ImportDatasetResponse:
        found = await asyncio.to_thread(
            self._use_cases.import_request,
            request.uri,
            dataset_id=request.dataset_id,
            on_bad_file=converters.on_bad_file(request.on_bad_file),
            caller=current_call().caller,
            request_id=request.request_id,
        )
        if isinstance(found, IngestRequest):
            dataset_id = await self._use_cases.ingest(found)
        else:
            dataset_id = found.id
        return datasets_pb2.ImportDatasetResponse(dataset=await self._described(dataset_id))

    async def GetDataset(
        self, request: datasets_pb2.GetDatasetRequest, context: Any
    ) -> datasets_pb2.GetDatasetResponse:
        dataset_id = parse_name(DATASETS, request.name)
        return datasets_pb2.GetDatasetResponse(dataset=await self._described(dataset_id))

    async def ListDatasets(
        self, request: datasets_pb2.ListDatasetsRequest, context: Any
    ) -> datasets_pb2.ListDatasetsResponse:
        page = await asyncio.to_thread(
            self._use_cases.list, page_request(request.page_size, request.page_token, DATASETS)
        )
        return datasets_pb2.ListDatasetsResponse(
            datasets=map(converters.listed_dataset_message, page.items),
            next_page_token=next_page_token(page.next, DATASETS),
        )

    async def DeleteDataset(
        self, request: datasets_pb2.DeleteDatasetRequest, context: Any
    ) -> datasets_pb2.DeleteDatasetResponse:
        await asyncio.to_thread(self._use_cases.delete, parse_name(DATASETS, request.name))
        return datasets_pb2.DeleteDatasetResponse()

    async def GetDatasetAuditReport(
        self, request: datasets_pb2.GetDatasetAuditReportRequest, context: Any
    ) -> datasets_pb2.GetDatasetAuditReportResponse:
        dataset_id = parse_name(DATASETS, request.name)
        page = await asyncio.to_thread(self._use_cases.audit_page, dataset_id)
        return datasets_pb2.GetDatasetAuditReportResponse(content_type=HTML, content=page)

    async def _described(self, dataset_id: str) -> datasets_pb2.Dataset:
        dataset, same_as = await asyncio.to_thread(self._use_cases.get_with_same_as, dataset_id)
        return converters.dataset_message(dataset, same_as)


@asynccontextmanager
async def _read_to_the_end(messages: AsyncIterator[Message]) -> AsyncIterator[None]:
    """Where the answer is clear before the stream has ended, read the rest and drop it.

    Some clients (gRPC's for Python's asyncio is one) lose the answer to a stream that they are
    still sending.
    """
    try:
        yield
    except BrainTumorError:
        await _discard(messages)
        raise
    await _discard(messages)


async def _discard(messages: AsyncIterator[Message]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for _ in messages:
                pass


async def _parts(messages: AsyncIterator[datasets_pb2.UploadDatasetRequest]) -> AsyncIterator[Part]:
    async for message in messages:
        yield converters.upload_part(message)
