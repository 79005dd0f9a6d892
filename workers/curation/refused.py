"""Files that a data set is taken in without, and why."""

from dataclasses import dataclass

from core.errors import RejectedFile
from workers.curation.mask_check import MaskFault


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file, by its path in the data set; ``problem`` says in plain words why it is left out.

    ``mask_fault`` is what is the matter with its mask, if that is why.
    """

    path: str
    problem: str
    mask_fault: MaskFault | None = None

    @property
    def named(self) -> RejectedFile:
        """As the owner of the data set is told of it."""
        return RejectedFile(self.path, self.problem)
