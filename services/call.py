"""The call that is being served: who asks, and the id under which the log knows it."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

CALLER: Final = "x-braintumor-caller"
REQUEST_ID: Final = "x-request-id"
ANONYMOUS: Final = "anonymous"

_CALLER_FORM: Final = re.compile(r"[A-Za-z0-9@._:-]{1,128}")
_REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One RPC. ``method`` is its full name; ``request_id`` the caller's own if it was usable."""

    method: str
    caller: str = ANONYMOUS
    request_id: str


_current: ContextVar[Call] = ContextVar("call")


def call_from_metadata(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Call:
    """The call that the metadata describe.

    This is where authentication will be: until then a caller is who it says it is.
    """
    values = dict(metadata)
    return Call(
        method=method,
        caller=_matching(_CALLER_FORM, values.get(CALLER)) or ANONYMOUS,
        request_id=_matching(_REQUEST_ID_FORM, values.get(REQUEST_ID)) or str(uuid4()),
    )


def current_call() -> Call:
    """The call that this task serves. Raises ``LookupError`` outside of one."""
    return _current.get()


@contextmanager
def serving(call: Call) -> Iterator[None]:
    """While the block runs, :func:`current_call` gives ``call``."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def _matching(form: re.Pattern[str], value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None
