"""``braintumor classify``."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT_ADDRESS, Address, AsJson
from services.cli.session import bad_usage, session

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", exists=True, help="Pictures, or folders to walk."),
]
ModelName = Annotated[
    str, typer.Option("--model", metavar="V", help="A model version; default: production's.")
]
OverlayDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Write DIR/STEM.png for each scan: what the model says and where it looked.",
    ),
]
MaskDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Write DIR/STEM.png for each scan: a 1-bit mask of what was outlined.",
    ),
]


def classify(
    paths: Paths,
    model: ModelName = "",
    overlay_dir: OverlayDir = None,
    mask_dir: MaskDir = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Classify scans. Decision support for research, not a medical device."""
    from services.cli.classify_run import ClassifyRun, Wishes
    from services.cli.pictures import pictures_in

    pictures = pictures_in(paths)
    if not pictures:
        raise bad_usage("There are no pictures (JPEG, PNG, BMP, TIFF, WebP) in what you named.")
    wishes = Wishes(model=model, overlay_dir=overlay_dir, mask_dir=mask_dir)
    with session(address, as_json) as connected:
        status = ClassifyRun(connected, wishes).run(pictures)
    raise typer.Exit(status)
