"""Identifiers that sort by the time at which they were made.

A database keeps its indexes as sorted trees. Identifiers without order touch a page of the tree
each, those in order the last page together, and the larger the table the more that is worth.
"""

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

_VERSION: Final = 7 << 76
_RANDOM: Final = (1 << 76) - 1


def ordered_uuid(at: datetime) -> UUID:
    """A UUID of version 7 (RFC 9562): the milliseconds of ``at``, then chance."""
    milliseconds = int(at.timestamp() * 1000) & 0xFFFFFFFFFFFF
    return UUID(int=milliseconds << 80 | _VERSION | uuid4().int & _RANDOM)
