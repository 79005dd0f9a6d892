"""Pages to read that the server gives as a whole."""

import sys
from pathlib import Path
from typing import Final

from services.cli.output import Output

PIPE: Final = Path("-")


def write_page(out: Output, content: bytes, output: Path, *, what: str, name: str) -> None:
    """Write the page where it is wanted, and say so; to a pipe nothing but the page.

    A program gets an object even there. ``what`` is what it tells of the resource of that name,
    such as ``report``. Raises ``OSError``.
    """
    if output == PIPE and out.as_json:
        out.row({"name": name, "content": content.decode()})
        return
    if output == PIPE:
        sys.stdout.buffer.write(content)
        return
    output.write_bytes(content)
    if out.as_json:
        out.row({"name": name, "output": str(output), "size_bytes": len(content)})
    else:
        out.line(f"The {what} of {name} is in {output} ({len(content) / 1024:.0f} KiB).")
