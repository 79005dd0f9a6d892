"""What a start, a version that was never asked for and a promotion cost callers.

``python -m benchmarks.changeover``. In each round ``braintumor up`` is started anew, with the
models on disk:

- From the start of the command until the answer to a first classification.
- The first answer of a version that no worker has loaded, named in the request, and the second.
- 16 callers one after the other without a pause: for a while as they are, and then as long while
  the other version is promoted and promoted back. What counts are requests that fail, those that
  take more than half a second, and who answered.

The other version is the shipped classifier under another name. Nothing else should run on the
machine. Writes ``results/changeover.md``.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc
from braintumor.v1 import classifier_pb2, classifier_pb2_grpc, models_pb2, models_pb2_grpc

from benchmarks.load import service
from benchmarks.load.launch import Command, free_port, launched, stop_children_when_killed
from benchmarks.load.model import shipped_model
from benchmarks.load.scans import synthetic_scans
from benchmarks.provenance import provenance
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.model_artefact import sha256_hex, store_model
from workers.starter import Starter, read_starter

RESULTS: Final = Path(__file__).parent / "results" / "changeover.md"
CALLERS: Final = 16
SLOW_SECONDS: Final = 0.5
DEADLINE_SECONDS: Final = 30.0
START_SECONDS: Final = 120.0
_IMPATIENT: Final = [
    (f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")
]
"""A server that is starting is looked for again at once."""


@dataclass
class Window:
    """What became of requests. Seconds."""

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)

    @property
    def slow(self) -> int:
        return sum(latency > SLOW_SECONDS for latency in self.latencies)

    def p(self, hundredths: int) -> float:
        return statistics.quantiles(self.latencies, n=100)[hundredths - 1]


@dataclass(frozen=True)
class Round:
    """Seconds; ``first`` and ``second`` of the version that nobody had asked for."""

    start: float
    first: float
    second: float
    quiet: Window
    promoting: Window


class Stack:
    """A running system, and questions to it."""

    def __init__(self, address: str, scans: Sequence[bytes]) -> None:
        self._scans = scans
        self._channel = grpc.insecure_channel(address, options=_IMPATIENT)
        self._classifier = classifier_pb2_grpc.ClassifierStub(self._channel)
        self._models = models_pb2_grpc.ModelsStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def wait_for_an_answer(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ask()
                return
            except grpc.RpcError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.05)

    def seconds_of(self, version: str) -> float:
        begin = time.perf_counter()
        self._ask(version)
        return time.perf_counter() - begin

    def under_load(self, seconds: float, promotions: Sequence[str] = ()) -> Window:
        """The versions are promoted one after the other at equal distances."""
        window, lock = Window(), threading.Lock()
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(CALLERS) as callers:
            busy = [callers.submit(self._call_until, end, window, lock) for _ in range(CALLERS)]
            for version in promotions:
                time.sleep(seconds / (len(promotions) + 1))
                self.promote(version)
            for caller in busy:
                caller.result()
        return window

    def promote(self, version: str) -> None:
        request = models_pb2.PromoteModelVersionRequest(name=version, reason="benchmark")
        self._models.PromoteModelVersion(request, timeout=DEADLINE_SECONDS)

    def _call_until(self, end: float, window: Window, lock: threading.Lock) -> None:
        while time.monotonic() < end:
            begin = time.perf_counter()
            try:
                version = self._ask().model_version
            except grpc.RpcError as error:
                with lock:
                    window.errors[error.code().name] += 1
                continue
            with lock:
                window.latencies.append(time.perf_counter() - begin)
                window.answered_by[version] += 1

    def _ask(self, version: str = "") -> classifier_pb2.ClassifyResponse:
        scan = self._scans[time.monotonic_ns() % len(self._scans)]
        request = classifier_pb2.ClassifyRequest(image=scan, model_version=version)
        return self._classifier.Classify(request, timeout=DEADLINE_SECONDS)


def other_version(home: Path) -> str:
    """Registered beside the shipped one; its name."""
    settings = Settings.from_environment(service.environment(), data_dir=home)
    starter = _renamed(read_starter())
    store_model(FsspecArtefactStore(settings.artefact_url), starter.manifest, starter.files)
    uow_factory = SqlUnitOfWorkFactory(create_store_engine(settings.database_url))
    try:
        with uow_factory(write=True) as uow:
            uow.models.add(starter.version)
            uow.commit()
    finally:
        uow_factory.close()
    return starter.version.name


def _renamed(starter: Starter) -> Starter:
    """The same model with another content hash."""
    manifest = replace(starter.manifest, weights_source=f"{starter.manifest.weights_source}, again")
    digest = sha256_hex(manifest.to_json())
    version = replace(starter.version, id=f"{starter.version.id}-again", digest=digest)
    return Starter(version=version, manifest=manifest, files=starter.files)


@contextmanager
def started(home: Path, scans: Sequence[bytes]) -> Iterator[tuple[Stack, float]]:
    """The stack, and how many seconds it took to its first answer."""
    address = f"127.0.0.1:{free_port()}"
    command = Command(
        words=service.up(home, address),
        environment=service.environment(),
        folder=home,
        log=home / "up.log",
    )
    begin = time.perf_counter()
    with launched(command):
        stack = Stack(address, scans)
        stack.wait_for_an_answer()
        yield stack, time.perf_counter() - begin
        stack.close()


def one_round(
    home: Path, scans: Sequence[bytes], serving: str, other: str, seconds: float
) -> Round:
    with started(home, scans) as (stack, start):
        first, second = stack.seconds_of(other), stack.seconds_of(other)
        stack.under_load(seconds / 4)
        quiet = stack.under_load(seconds)
    with started(home, scans) as (stack, _):
        stack.under_load(seconds / 4)
        promoting = stack.under_load(seconds, promotions=[other, serving])
    return Round(start, first, second, quiet, promoting)


def table(rounds: Sequence[Round]) -> str:
    lines = [
        "| round | start to first answer, s | cold version: first answer, ms | second, ms |",
        "| --- | --- | --- | --- |",
        *(
            f"| {number} | {found.start:.1f} | {found.first * 1e3:.0f} | {found.second * 1e3:.0f} |"
            for number, found in enumerate(rounds, 1)
        ),
        "",
        "| round | 16 callers | answered | failed | over 500 ms | p50, ms | p99, ms | most, ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            _window_line(number, name, window)
            for number, found in enumerate(rounds, 1)
            for name, window in (("as they are", found.quiet), ("two promotions", found.promoting))
        ),
    ]
    return "\n".join(lines) + "\n"


def _window_line(number: int, name: str, window: Window) -> str:
    by_version = " + ".join(str(count) for count in window.answered_by.values())
    milliseconds = (window.p(50), window.p(99), max(window.latencies))
    cells = [
        *(str(number), name, by_version, str(window.errors.total()), str(window.slow)),
        *(f"{1e3 * seconds:.0f}" for seconds in milliseconds),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (default: 8)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    stop_children_when_killed()
    scans = synthetic_scans(64).encoded
    with tempfile.TemporaryDirectory(prefix="changeover-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        model = shipped_model(Path(folder))
        service.install(model, Settings.from_environment(service.environment(), data_dir=home))
        other = other_version(home)
        rounds = []
        for number in range(1, arguments.rounds + 1):
            rounds.append(one_round(home, scans, model.name, other, arguments.seconds))
            print(f"Round {number} of {arguments.rounds} is done.", flush=True)
    when = provenance()
    arguments.output.write_text(
        f"# Starting, a cold version, and promoting under load\n\n"
        f"`python -m benchmarks.changeover`, {when['date']}, commit {when['commit']}, "
        f"{when['machine']}. Each load {arguments.seconds:g} s; answers are told by version.\n\n"
        + table(rounds)
    )


if __name__ == "__main__":
    main()
