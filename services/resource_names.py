"""Resource names such as ``datasets/brains``: the collection, and the id within it."""

import re
from typing import Final

from core.errors import InvalidArgument

DATASETS: Final = "datasets"
TRAINING_JOBS: Final = "trainingJobs"
MODEL_VERSIONS: Final = "modelVersions"
PREDICTIONS: Final = "predictions"

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def parse_name(collection: str, name: str, field: str = "name") -> str:
    """The id in a resource name. Raises ``InvalidArgument`` on ``field`` for any other text."""
    start, slash, resource_id = name.partition("/")
    if start != collection or not slash or not _ID.fullmatch(resource_id):
        raise InvalidArgument.of(field, f"must be a name such as {collection}/ID")
    return resource_id


def full_name(collection: str, resource_id: str | None) -> str:
    """The resource name, or nothing for no resource."""
    return f"{collection}/{resource_id}" if resource_id else ""
