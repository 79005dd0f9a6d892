"""What the name of a folder or an archive says: how it is read, and what its data set is called.

The command, the gateway and the workers go by it, and must agree.
"""

import re
from typing import Final

_ARCHIVE: Final = re.compile(r"\.(zip|tar|tgz|tbz2|txz|tar\.(gz|bz2|xz))\Z", re.IGNORECASE)
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
_ID_LENGTH: Final = 63


def is_archive(path: str) -> bool:
    """Whether the file is taken for an archive, should it be the only one."""
    return bool(_ARCHIVE.search(path))


def dataset_id_from(name: str) -> str:
    """A data set id made of the name; empty if there is nothing in it that an id may have."""
    return _NOT_IN_ID.sub("-", _ARCHIVE.sub("", name)).strip("-._")[:_ID_LENGTH]
