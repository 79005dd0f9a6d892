"""Request ids: what makes a repeated request answer with its first result (AIP-155)."""

from uuid import UUID

from core.errors import InvalidArgument


def check_request_id(request_id: str) -> str | None:
    """The UUID in its canonical spelling, None for an empty text.

    Raises ``InvalidArgument`` for anything else.
    """
    if not request_id:
        return None
    try:
        return str(UUID(request_id))
    except ValueError as exc:
        raise InvalidArgument.of("request_id", "must be a UUID") from exc
