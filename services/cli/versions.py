"""Which model version a person means."""

from typing import Final

from core.registry import SERVING
from services.cli.options import resource
from services.cli.session import Session

WHAT_SERVES: Final = "'production' or 'segmentation' for what serves"
"""How a help text says that a version may be named by its alias."""


def version_name(connected: Session, text: str) -> str:
    """The full resource name of ``V``, of ``modelVersions/V``, or of what serves by an alias.

    An alias that points nowhere is taken for a version of that name, and so is not found. Raises
    ``ServerRefused``.
    """
    from braintumor.v1 import models_pb2

    full = resource("modelVersions", text)
    if text not in SERVING.values():
        return full
    client = connected.client
    client.check_reachable()
    moves = models_pb2.ListAliasMovesRequest(alias=text, page_size=1)
    found = client.call(client.models.ListAliasMoves, moves).alias_moves
    return found[0].to_version if found else full
