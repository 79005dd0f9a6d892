"""The bare runtime: decode, prepare and run in threads of one process, and nothing else.

What no server in front of the same runtime can surpass. Runtime, precision and streams are those
that the service's settings choose.
"""

import itertools
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.loads import ClosedLoop, Load, measured_seconds
from benchmarks.load.measurement import Measurement, Tally
from benchmarks.load.model import Model
from benchmarks.load.processes import Meter, this_process
from benchmarks.load.scans import Scans
from benchmarks.load.system import Running, System, Timing
from benchmarks.load.threads import apply, clock
from core.labels import LABELS
from core.settings import Settings
from core.training import Task
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import prepare
from workers.inference.runtime import Runtime, choose_runtime
from workers.model_artefact import LOGITS_NAME, OUTPUTS

NAME: Final = "bare runtime"
ROLE: Final = "runtime"


def bare_runtime(model: Model, scans: Scans, settings: Settings) -> System:
    """In a process of its own, so that what it takes is told apart."""
    return System(NAME, partial(_started, BareRuntime(model, scans, settings)))


@dataclass(frozen=True)
class BareRuntime:
    """A loaded graph and the scans that go through it."""

    model: Model
    scans: Scans
    settings: Settings

    @cached_property
    def runtime(self) -> Runtime:
        load = choose_runtime(self.settings)
        outputs = OUTPUTS[Task.CLASSIFICATION]
        return load(self.model.graph.read_bytes(), self.model.image_size, outputs)

    def labels(self) -> Sequence[str]:
        """What the model says of each scan."""
        return [str(LABELS[int(self._logits(scan).argmax())]) for scan in self.scans.encoded]

    def measure(self, load: Load, timing: Timing) -> Measurement:
        """The load with this very process measured."""
        self._apply(load, Tally(clock(), timing.warm_up))
        meter = Meter([this_process(ROLE)])
        meter.start()
        tally = Tally(clock(), measured_seconds(load, timing.measured))
        with ThreadPoolExecutor(1) as aside:
            traffic = aside.submit(self._apply, load, tally)
            if math.isfinite(tally.end):
                time.sleep(tally.end - clock())
            else:
                traffic.result()
            use = meter.stop()
            traffic.result()
        return tally.measurement(use, serving={ROLE})

    def _apply(self, load: Load, tally: Tally) -> None:
        scans = itertools.cycle(self.scans.encoded)
        streams = self.settings.inference_streams
        alone = load == ClosedLoop(1)
        apply(load, lambda: self._logits(next(scans), alone=alone), tally, streams)

    def _logits(self, scan: bytes, *, alone: bool = False) -> NDArray[np.float32]:
        grey = decode_grey(scan, ImageLimits.of(self.settings))
        pixels = prepare(grey, self.model.image_size).pixels
        logits: NDArray[np.float32] = self.runtime.run(pixels[None], alone=alone)[LOGITS_NAME][0]
        return logits


@dataclass(frozen=True)
class _InProcess:
    """Passes everything on to the process in the pool."""

    bare: BareRuntime
    pool: ProcessPoolExecutor

    def labels(self) -> Sequence[str]:
        return self.pool.submit(_labels, self.bare).result()

    def measure(self, load: Load, timing: Timing) -> Measurement:
        return self.pool.submit(_measure, self.bare, load, timing).result()


@contextmanager
def _started(bare: BareRuntime) -> Iterator[Running]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield _InProcess(bare, pool)


@lru_cache(maxsize=1)
def _kept(bare: BareRuntime) -> BareRuntime:
    """The first that is equal, so that its graph is loaded once a process."""
    return bare


def _labels(bare: BareRuntime) -> Sequence[str]:
    return _kept(bare).labels()


def _measure(bare: BareRuntime, load: Load, timing: Timing) -> Measurement:
    return _kept(bare).measure(load, timing)
