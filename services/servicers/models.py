"""The Models service."""

# ruff: noqa: N802, ARG002 - gRPC names the methods and what they are given

import asyncio
from typing import Any, Final

from braintumor.v1 import models_pb2, models_pb2_grpc

from core.registry import PRODUCTION, ReportFormat
from services import converters
from services.call import current_call
from services.long_work import LongWork
from services.paging import BY_SEQUENCE, next_page_token, page_request
from services.resource_names import MODEL_VERSIONS, parse_name
from services.usecases.models import ModelUseCases

CONTENT_TYPES: Final = {
    ReportFormat.HTML: "text/html; charset=utf-8",
    ReportFormat.MARKDOWN: "text/markdown; charset=utf-8",
}

_ALIAS_MOVES: Final = "aliasMoves"


class ModelsServicer(models_pb2_grpc.ModelsServicer):
    def __init__(self, use_cases: ModelUseCases, long_work: LongWork) -> None:
        self._use_cases = use_cases
        self._long_work = long_work

    async def GetModelVersion(
        self, request: models_pb2.GetModelVersionRequest, context: Any
    ) -> models_pb2.GetModelVersionResponse:
        version_id = parse_name(MODEL_VERSIONS, request.name)
        version = await asyncio.to_thread(self._use_cases.get, version_id)
        message = converters.model_version_message(version)
        return models_pb2.GetModelVersionResponse(model_version=message)

    async def ListModelVersions(
        self, request: models_pb2.ListModelVersionsRequest, context: Any
    ) -> models_pb2.ListModelVersionsResponse:
        page = await asyncio.to_thread(
            self._use_cases.list,
            page_request(request.page_size, request.page_token, MODEL_VERSIONS),
        )
        return models_pb2.ListModelVersionsResponse(
            model_versions=map(converters.model_version_message, page.items),
            next_page_token=next_page_token(page.next, MODEL_VERSIONS),
        )

    async def CompareModelVersions(
        self, request: models_pb2.CompareModelVersionsRequest, context: Any
    ) -> models_pb2.CompareModelVersionsResponse:
        version_ids = [parse_name(MODEL_VERSIONS, name, "names") for name in request.names]
        comparison = await self._long_work.run(self._use_cases.compare, version_ids)
        return converters.comparison_response(comparison)

    async def PromoteModelVersion(
        self, request: models_pb2.PromoteModelVersionRequest, context: Any
    ) -> models_pb2.PromoteModelVersionResponse:
        promotion = await self._long_work.run(
            self._use_cases.promote,
            parse_name(MODEL_VERSIONS, request.name),
            alias=request.alias,
            reason=request.reason,
            force=request.force,
            caller=current_call().caller,
        )
        return converters.promotion_response(promotion)

    async def RollbackModelAlias(
        self, request: models_pb2.RollbackModelAliasRequest, context: Any
    ) -> models_pb2.RollbackModelAliasResponse:
        from_version = request.from_version
        rolled_back = await asyncio.to_thread(
            self._use_cases.roll_back,
            request.alias,
            reason=request.reason,
            caller=current_call().caller,
            from_version=from_version and parse_name(MODEL_VERSIONS, from_version, "from_version"),
        )
        return converters.rollback_response(rolled_back)

    async def ListAliasMoves(
        self, request: models_pb2.ListAliasMovesRequest, context: Any
    ) -> models_pb2.ListAliasMovesResponse:
        alias = request.alias or PRODUCTION
        query = (_ALIAS_MOVES, alias)
        page = await asyncio.to_thread(
            self._use_cases.alias_moves,
            alias,
            page_request(request.page_size, request.page_token, *query, cursor=BY_SEQUENCE),
        )
        return models_pb2.ListAliasMovesResponse(
            alias_moves=map(converters.alias_move_message, page.items),
            next_page_token=next_page_token(page.next, *query),
        )

    async def GetEvaluationReport(
        self, request: models_pb2.GetEvaluationReportRequest, context: Any
    ) -> models_pb2.GetEvaluationReportResponse:
        version_id = parse_name(MODEL_VERSIONS, request.name)
        wanted = converters.report_format(request)
        page = await asyncio.to_thread(self._use_cases.report, version_id, wanted)
        return models_pb2.GetEvaluationReportResponse(
            content_type=CONTENT_TYPES[wanted], content=page
        )
