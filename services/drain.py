"""The word that the server is going away, for calls that would not end by themselves."""

import asyncio
from contextlib import suppress


class Drain:
    """Begins once and never ends."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begin(self) -> None:
        self._begun.set()

    async def begins(self) -> None:
        """Returns when the drain has begun."""
        await self._begun.wait()

    async def begins_within(self, seconds: float) -> bool:
        """Waits that long, or until the drain begins; whether it has begun."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), seconds)
        return self._begun.is_set()
