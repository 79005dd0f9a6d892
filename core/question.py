"""What a worker is asked about a picture: the same question has the same answer."""

import hashlib
import json
from dataclasses import asdict, dataclass

from core.messages import Segmenter
from core.prediction import MaskFormat


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything that an answer follows from, beside the software and what it runs on.

    Versions stand with their content hashes, so nothing of a model can change behind its name.
    Areas in mm2 are no part of it: they are worked out after the answer.
    """

    image_sha256: str
    model_version: str
    digest: str
    segmenter: Segmenter | None = None
    include_activation_map: bool = False
    mask_format: MaskFormat | None = None

    def fingerprint(self, made_with: str) -> str:
        """Hex SHA-256 over the question and ``made_with``: the software, and what it runs on.

        Tells nothing of the picture, not even its hash.
        """
        fields = {**asdict(self), "made_with": made_with}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
