"""Aliases of model versions: where one points, and pointing it elsewhere."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.registry import PRODUCTION, SEGMENTATION
from services.cli.session import Session

if TYPE_CHECKING:
    from braintumor.v1 import models_pb2
    from google.protobuf.message import Message

    from services.cli.client import Client


def pointed_at(client: "Client", alias: str) -> str | None:
    """The full name of the version that the alias points at; None for nowhere.

    Raises ``ServerRefused``.
    """
    from braintumor.v1 import models_pb2

    request = models_pb2.ListAliasMovesRequest(alias=alias, page_size=1)
    found = client.call(client.models.ListAliasMoves, request).alias_moves
    return found[0].to_version if found else None


def serving_alias(version: "models_pb2.ModelVersion") -> str:
    """The alias by which a version of its task serves."""
    from braintumor.v1 import training_pb2

    outlines = version.task == training_pb2.TASK_SEGMENTATION
    return SEGMENTATION if outlines else PRODUCTION


def move_alias(connected: Session, method: Any, request: "Message", alias: str) -> Any:
    """The answer to a request that points the alias elsewhere. Raises ``ServerRefused``.

    It may take long: the server reads every file of the version, and its workers load it.
    """
    from services.cli.client import SLOW_SECONDS
    from services.cli.refusals import ServerRefused

    try:
        return connected.client.call(method, request, timeout=SLOW_SECONDS)
    except ServerRefused as error:
        if error.refusal.status != "DEADLINE_EXCEEDED":
            raise
        # The server ends what it has begun, whether or not somebody waits.
        message = (
            f"{error.refusal.message.removesuffix('.')}. The alias may have moved all the same; "
            f"look before you try again: braintumor models history --alias {alias}"
        )
        raise ServerRefused(replace(error.refusal, message=message)) from error
