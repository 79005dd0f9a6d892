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
        help="Write DIR/STEM.png for each scan: what the model says, and the outlined tumour or "
        "where the model looked.",
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
Regions = Annotated[
    bool | None,
    typer.Option(
        "--regions/--no-regions",
        help="Whether to outline tumours; default: if the server has a segmenter.",
        show_default=False,
    ),
]
Spacing = Annotated[
    str,
    typer.Option(
        "--pixel-spacing",
        metavar="MM|X,Y",
        help="Millimetres from pixel to pixel, for areas in mm2.",
    ),
]


def classify(
    paths: Paths,
    model: ModelName = "",
    overlay_dir: OverlayDir = None,
    mask_dir: MaskDir = None,
    regions: Regions = None,
    pixel_spacing: Spacing = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: AsJson = False,
) -> None:
    """Classify scans. Decision support for research, not a medical device."""
    from services.cli.classify_run import ClassifyRun, Wishes
    from services.cli.pictures import pictures_in

    pictures = pictures_in(paths)
    if not pictures:
        raise bad_usage("There are no pictures (JPEG, PNG, BMP, TIFF, WebP) in what you named.")
    if mask_dir is not None:
        if regions is False:
            raise bad_usage("--mask-dir needs regions: leave --no-regions out.")
        if overlay_dir is not None and overlay_dir.resolve() == mask_dir.resolve():
            raise bad_usage("--overlay-dir and --mask-dir write files of the same names: give two.")
        regions = True
    wishes = Wishes(
        model=model,
        overlay_dir=overlay_dir,
        mask_dir=mask_dir,
        regions=regions,
        pixel_spacing=_millimetres(pixel_spacing),
    )
    with session(address, as_json) as connected:
        status = ClassifyRun(connected, wishes).run(pictures)
    raise typer.Exit(status)


def _millimetres(text: str) -> tuple[float, float] | None:
    """The distance to the right and down of ``0.5`` or ``0.5,0.6``."""
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, 2} or not all(0 < number <= 100 for number in numbers):
        raise bad_usage(
            f"--pixel-spacing {text}: give one or two numbers of millimetres, such as 0.5 or "
            "0.45,0.5, each above 0 and at most 100."
        )
    return numbers[0], numbers[-1]
