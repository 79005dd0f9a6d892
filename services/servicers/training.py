"""The Training service."""

# ruff: noqa: N802, ARG002 - gRPC names the methods and what they are given

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from braintumor.v1 import training_pb2, training_pb2_grpc

from services import converters
from services.call import current_call
from services.paging import next_page_token, page_request
from services.resource_names import DATASETS, TRAINING_JOBS, parse_name
from services.usecases.training import TrainingUseCases


class TrainingServicer(training_pb2_grpc.TrainingServicer):
    def __init__(self, use_cases: TrainingUseCases) -> None:
        self._use_cases = use_cases

    async def CreateTrainingJob(
        self, request: training_pb2.CreateTrainingJobRequest, context: Any
    ) -> training_pb2.CreateTrainingJobResponse:
        job = await asyncio.to_thread(
            self._use_cases.create,
            parse_name(DATASETS, request.training_job.dataset, "training_job.dataset"),
            converters.training_spec(request.training_job.spec),
            caller=current_call().caller,
            request_id=request.request_id,
            search=converters.search_spec(request.training_job),
        )
        message = converters.training_job_message(job)
        return training_pb2.CreateTrainingJobResponse(training_job=message)

    async def GetTrainingJob(
        self, request: training_pb2.GetTrainingJobRequest, context: Any
    ) -> training_pb2.GetTrainingJobResponse:
        job_id = parse_name(TRAINING_JOBS, request.name)
        job = await asyncio.to_thread(self._use_cases.get, job_id)
        trials = await asyncio.to_thread(self._use_cases.trials, job)
        message = converters.training_job_message(job, trials)
        return training_pb2.GetTrainingJobResponse(training_job=message)

    async def ListTrainingJobs(
        self, request: training_pb2.ListTrainingJobsRequest, context: Any
    ) -> training_pb2.ListTrainingJobsResponse:
        page = await asyncio.to_thread(
            self._use_cases.list,
            page_request(request.page_size, request.page_token, TRAINING_JOBS),
        )
        return training_pb2.ListTrainingJobsResponse(
            training_jobs=map(converters.training_job_message, page.items),
            next_page_token=next_page_token(page.next, TRAINING_JOBS),
        )

    async def WatchTrainingJob(
        self, request: training_pb2.WatchTrainingJobRequest, context: Any
    ) -> AsyncIterator[training_pb2.WatchTrainingJobResponse]:
        job_id = parse_name(TRAINING_JOBS, request.name)
        async with aclosing(self._use_cases.watch(job_id, request.after_sequence)) as updates:
            async for update in updates:
                yield converters.watch_response(update)

    async def CancelTrainingJob(
        self, request: training_pb2.CancelTrainingJobRequest, context: Any
    ) -> training_pb2.CancelTrainingJobResponse:
        job_id = parse_name(TRAINING_JOBS, request.name)
        caller = current_call().caller
        job = await asyncio.to_thread(self._use_cases.cancel, job_id, caller=caller)
        message = converters.training_job_message(job)
        return training_pb2.CancelTrainingJobResponse(training_job=message)
