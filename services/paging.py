"""Page tokens: opaque, and good only for the query that they were given for (AIP-158)."""

import base64
import binascii
import hashlib
import json
from typing import Final

from core.errors import InvalidArgument
from core.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Cursor, PageRequest

BY_TIME: Final[tuple[type, ...]] = (int, str)
"""Cursor of lists in order of time: microseconds and id."""
BY_TIME_AND_SEQUENCE: Final[tuple[type, ...]] = (int, int)
"""Cursor of the audit log: microseconds and place."""

BY_SEQUENCE: Final[tuple[type, ...]] = (int,)
"""Cursor of an alias's history."""

_LONGEST: Final = 1024
_CHECK_BYTES: Final = 12
_LARGEST: Final = 2**63 - 1


def page_request(
    page_size: int, page_token: str, *query: str, cursor: tuple[type, ...] = BY_TIME
) -> PageRequest:
    """The page that was asked for. ``query`` is everything that the list depends on.

    Raises ``InvalidArgument`` for a negative size, and for a token that is damaged or was given
    for another query.
    """
    if page_size < 0:
        raise InvalidArgument.of("page_size", "must not be negative")
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return PageRequest(size=size, after=_read(page_token, query, cursor) if page_token else None)


def next_page_token(after: Cursor | None, *query: str) -> str:
    """The token of the page behind ``after``; empty at the end of the list."""
    if after is None:
        return ""
    text = json.dumps(after).encode()
    return base64.urlsafe_b64encode(_check(text, query) + text).decode().rstrip("=")


def _read(token: str, query: tuple[str, ...], kinds: tuple[type, ...]) -> Cursor:
    if len(token) > _LONGEST:  # ours are far shorter; what is inside is parsed
        raise _refusal()
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, text = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
        if check != _check(text, query):
            raise ValueError
        cursor = tuple(json.loads(text))
    except (ValueError, TypeError, RecursionError, binascii.Error) as exc:
        raise _refusal() from exc
    if tuple(map(type, cursor)) != kinds or any(_too_large(value) for value in cursor):
        raise _refusal()
    return cursor


def _check(text: bytes, query: tuple[str, ...]) -> bytes:
    # A check, not a signature: a token gives its bearer nothing that the query would not.
    arguments = json.dumps(query).encode()
    return hashlib.sha256(arguments + b"\0" + text).digest()[:_CHECK_BYTES]


def _too_large(value: str | int) -> bool:
    return isinstance(value, int) and abs(value) > _LARGEST


def _refusal() -> InvalidArgument:
    return InvalidArgument.of(
        "page_token",
        "is not a token of this list with these arguments; start again without one",
    )
