"""Keyset pagination, independent of any store."""

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000

Cursor = tuple[str | int, ...]
"""The sort key of the last row of a page; the next page starts behind it."""


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """``size`` rows behind ``after`` (None: from the start)."""

    size: int = DEFAULT_PAGE_SIZE
    after: Cursor | None = None


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Rows in order, and the cursor of the next page or None at the end."""

    items: tuple[T, ...]
    next: Cursor | None = field(default=None)
