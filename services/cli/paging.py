"""Lists longer than a page."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

MAX_PAGE: Final = 1000


def listed(fetch: Callable[[int, str], tuple[Any, str]], limit: int) -> Iterator[Any]:
    """Up to ``limit`` items (0: all) of ``fetch(page_size, page_token) -> (items, next_token)``."""
    pages = _pages(fetch, min(limit or MAX_PAGE, MAX_PAGE))
    return islice(pages, limit or None)


def _pages(fetch: Callable[[int, str], tuple[Any, str]], size: int) -> Iterator[Any]:
    token = ""
    while True:
        items, token = fetch(size, token)
        yield from items
        if not token:
            return
