"""The Classifier service."""

# ruff: noqa: N802 - gRPC names the methods

import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

from braintumor.v1 import classifier_pb2, classifier_pb2_grpc

from services import converters
from services.call import Call, current_call
from services.failures import presentable
from services.ordered import in_order
from services.status import rich_status
from services.usecases.classify import ClassifyAnswer, ClassifyUseCase

STREAM_IN_FLIGHT: Final = 16
"""Slices of one stream that are worked on at a time; the next is read when one is answered."""


class ClassifierServicer(classifier_pb2_grpc.ClassifierServicer):
    def __init__(self, use_case: ClassifyUseCase) -> None:
        self._use_case = use_case

    async def Classify(
        self, request: classifier_pb2.ClassifyRequest, context: Any
    ) -> classifier_pb2.ClassifyResponse:
        answer = await self._classify(request, current_call(), _deadline(context))
        return converters.classify_response(answer)

    async def ClassifyStream(
        self, request_iterator: AsyncIterator[classifier_pb2.ClassifyStreamRequest], context: Any
    ) -> AsyncIterator[classifier_pb2.ClassifyStreamResponse]:
        call, deadline = current_call(), _deadline(context)

        async def answer(
            item: classifier_pb2.ClassifyStreamRequest,
        ) -> classifier_pb2.ClassifyStreamResponse:
            tag, answering = item.tag, self._classify(item.request, call, deadline)
            del item  # it holds the picture a second time
            try:
                response = converters.classify_response(await answering)
            except Exception as raised:  # a slice that is refused does not end the stream
                error = rich_status(presentable(raised, call.request_id), call.request_id)
                return classifier_pb2.ClassifyStreamResponse(tag=tag, error=error)
            return classifier_pb2.ClassifyStreamResponse(tag=tag, response=response)

        async for response in in_order(request_iterator, answer, limit=STREAM_IN_FLIGHT):
            yield response

    def _classify(
        self, request: classifier_pb2.ClassifyRequest, call: Call, deadline: float | None
    ) -> Awaitable[ClassifyAnswer]:
        """What is left to wait for needs the request no more."""
        return self._use_case.classify(
            converters.classify_command(request, caller=call.caller, deadline=deadline)
        )


def _deadline(context: Any) -> float | None:
    """When the caller stops waiting, in seconds since the epoch; None if it never does."""
    remaining: float | None = context.time_remaining()
    return None if remaining is None else time.time() + remaining
