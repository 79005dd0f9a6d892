"""Generate the Python stubs, with types, from the .proto files beside this script.

``python protos/generate.py`` writes them; ``--check`` only says whether they would change.
"""

import argparse
import filecmp
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "braintumor" / "v1"
TYPE_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def google_protos() -> Path:
    """Where googleapis-common-protos keeps google/api and google/rpc."""
    return Path(str(distribution("googleapis-common-protos").locate_file("")))


def generate(out: Path) -> None:
    """Write every stub below ``out``, keeping the package's folders."""
    well_known = Path(protoc.__file__).parent / "_proto"
    includes = [f"-I{ROOT}", f"-I{google_protos()}", f"-I{well_known}"]
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python")]
    outputs += [f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")]
    # The type plugins come from mypy-protobuf; name them so that an inactive venv works too.
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin={name}={scripts / name}" for name in TYPE_PLUGINS]
    sources = [str(p.relative_to(ROOT)) for p in sorted(PACKAGE.glob("*.proto"))]
    status = protoc.main(["protoc", *includes, *plugins, *outputs, *sources])
    if status != 0:
        sys.exit(status)


def stale() -> list[str]:
    """Names of committed stubs that differ from what would be generated now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {p.name: p for p in (Path(folder) / "braintumor" / "v1").iterdir()}
        committed = {p.name: p for p in PACKAGE.glob("*_pb2*")}
        names = sorted(fresh.keys() | committed.keys())
        return [
            name
            for name in names
            if name not in fresh
            or name not in committed
            or not filecmp.cmp(fresh[name], committed[name], shallow=False)
        ]


def descriptor_set(out: Path) -> None:
    """Write what ``buf lint`` reads: the files with their comments and all they import."""
    well_known = Path(protoc.__file__).parent / "_proto"
    sources = [str(p.relative_to(ROOT)) for p in sorted(PACKAGE.glob("*.proto"))]
    flags = [f"--descriptor_set_out={out}", "--include_imports", "--include_source_info"]
    includes = [f"-I{ROOT}", f"-I{google_protos()}", f"-I{well_known}"]
    sys.exit(protoc.main(["protoc", *includes, *flags, *sources]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--descriptor-set", type=Path)
    arguments = parser.parse_args()
    if arguments.descriptor_set:
        descriptor_set(arguments.descriptor_set)
    elif arguments.check:
        differing = stale()
        if differing:
            sys.exit(f"stubs are stale, run 'make stubs': {', '.join(differing)}")
    else:
        generate(ROOT)
