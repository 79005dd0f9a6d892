"""Which model version a person means."""

from typing import Final

from core.registry import SERVING
from services.cli.aliases import pointed_at
from services.cli.options import resource
from services.cli.session import Session

WHAT_SERVES: Final = "'production' or 'segmentation' for what serves"
"""How a help text says that a version may be named by its alias."""


def version_name(connected: Session, text: str) -> str:
    """The full resource name of ``V``, of ``modelVersions/V``, or of what serves by an alias.

    An alias that points nowhere is taken for a version of that name, and so is not found. Raises
    ``ServerRefused``.
    """
    full = resource("modelVersions", text)
    if text not in SERVING.values():
        return full
    connected.client.check_reachable()
    return pointed_at(connected.client, text) or full
