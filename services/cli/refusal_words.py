"""A refusal as lines for a person, each thing once.

A message often says what the violations say, in full or the first few of them: it is written for
those who see nothing else.
"""

import re
from collections.abc import Mapping
from typing import Final

from services.cli.refusals import Refusal

_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
"""Where the server cut a text to its length."""
_FILE: Final = re.compile(r"files\[(.*)\]")
_IN_COMMANDS: Final[Mapping[str, str]] = {
    "ask for bad files to be skipped": "leave them out with --skip-bad",
}
"""What the server advises every client, as the command line has it."""


def refusal_lines(refusal: Refusal) -> list[str]:
    """Status and message, then a line for each fault that the message does not tell alone."""
    message, faults = refusal.message, [_fault(*v) for v in refusal.violations]
    if not faults or _says_all(message, refusal.violations):
        return [f"{refusal.status}: {_in_commands(message)}"]
    head = _in_commands(_before_faults(message, refusal.violations[0][0]))
    if not head and len(faults) == 1:
        return [f"{refusal.status}: {faults[0]}"]
    return [
        f"{refusal.status}: {head or 'several fields are wrong'}:",
        *(f"  {fault}" for fault in faults),
    ]


def _says_all(message: str, violations: tuple[tuple[str, str], ...]) -> bool:
    """Whether there is but one fault and the message says it; more are easier to read in lines."""
    return len(violations) == 1 and violations[0][1].removesuffix(_ELLIPSIS) in message


def _fault(field: str, description: str) -> str:
    return f"{_name(field)}: {description}" if field else description


def _name(field: str) -> str:
    """A file's path, else the field as it is."""
    found = _FILE.fullmatch(field)
    return found[1] if found else field


def _before_faults(message: str, first: str) -> str:
    """The message up to where it names the first field at fault; all of it if it does not."""
    head, _, _ = message.partition(f"{_name(first)}: ")
    return head.rstrip(".: ")


def _in_commands(text: str) -> str:
    for advice, command in _IN_COMMANDS.items():
        text = text.replace(advice, command)
    return text
