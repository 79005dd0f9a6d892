"""The Audit service."""

# ruff: noqa: N802, ARG002 - gRPC names the methods and what they are given

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from braintumor.v1 import audit_pb2, audit_pb2_grpc

from services import converters
from services.call import current_call
from services.filtering import parse_filter
from services.long_work import LongWork
from services.paging import BY_TIME_AND_SEQUENCE, next_page_token, page_request
from services.resource_names import PREDICTIONS, parse_name
from services.usecases.audit import AuditUseCases


class AuditServicer(audit_pb2_grpc.AuditServicer):
    def __init__(self, use_cases: AuditUseCases, long_work: LongWork) -> None:
        self._use_cases = use_cases
        self._long_work = long_work

    async def ListPredictions(
        self, request: audit_pb2.ListPredictionsRequest, context: Any
    ) -> audit_pb2.ListPredictionsResponse:
        newest_first = converters.newest_first(request.order_by)
        query = (PREDICTIONS, request.filter, str(newest_first))
        page = await asyncio.to_thread(
            self._use_cases.list,
            page_request(
                request.page_size, request.page_token, *query, cursor=BY_TIME_AND_SEQUENCE
            ),
            parse_filter(request.filter),
            newest_first=newest_first,
        )
        return audit_pb2.ListPredictionsResponse(
            predictions=map(converters.prediction_message, page.items),
            next_page_token=next_page_token(page.next, *query),
        )

    async def GetPrediction(
        self, request: audit_pb2.GetPredictionRequest, context: Any
    ) -> audit_pb2.GetPredictionResponse:
        prediction_id = parse_name(PREDICTIONS, request.name)
        record, reviews = await asyncio.to_thread(self._use_cases.get, prediction_id)
        message = converters.prediction_message(record, reviews)
        return audit_pb2.GetPredictionResponse(prediction=message)

    async def RecordReview(
        self, request: audit_pb2.RecordReviewRequest, context: Any
    ) -> audit_pb2.RecordReviewResponse:
        prediction_id = parse_name(PREDICTIONS, request.name)
        review = await asyncio.to_thread(
            self._use_cases.review,
            prediction_id,
            converters.verdict(request),
            caller=current_call().caller,
            request_id=request.request_id,
        )
        return audit_pb2.RecordReviewResponse(review=converters.review_message(review))

    async def VerifyAuditLog(
        self, request: audit_pb2.VerifyAuditLogRequest, context: Any
    ) -> audit_pb2.VerifyAuditLogResponse:
        left = threading.Event()
        try:
            report = await self._long_work.run(self._use_cases.verify, left)
        finally:
            left.set()  # a caller that goes away ends the walk
        return converters.verify_response(report)

    async def ExportPredictions(
        self, request: audit_pb2.ExportPredictionsRequest, context: Any
    ) -> AsyncIterator[audit_pb2.ExportPredictionsResponse]:
        pages = self._use_cases.export(parse_filter(request.filter))
        while (page := await self._long_work.run_to_end(next, pages, None)) is not None:
            for record, reviews in page:
                message = converters.prediction_message(record, reviews)
                yield audit_pb2.ExportPredictionsResponse(prediction=message)
