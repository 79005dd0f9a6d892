"""Records as a run makes them."""

from benchmarks.load.comparison import Record
from benchmarks.load.measurement import Latencies, Measurement, ProcessUse

LOAD = "closed loop, 16 at once"


def a_record(
    system: str,
    *,
    round_: int = 1,
    load: str = LOAD,
    completed: int = 100,
    p50: float = 10.0,
    p99: float = 20.0,
    cpu_seconds: float = 1.0,
    errors: dict[str, int] | None = None,
    labels: tuple[str, ...] = ("glioma", "no_tumor"),
) -> Record:
    """Of a load of one second, with one process."""
    latencies = Latencies(
        count=completed,
        mean_ms=p50,
        p50_ms=p50,
        p90_ms=p99,
        p99_ms=p99,
        p999_ms=p99,
        max_ms=p99,
        histogram="",
    )
    measurement = Measurement(
        seconds=1.0,
        completed=completed,
        latencies=latencies,
        errors=errors or {},
        processes={"gateway": ProcessUse(cpu_seconds=cpu_seconds, peak_bytes=64 << 20)},
        cpu_seconds=cpu_seconds,
    )
    return Record(round=round_, system=system, load=load, labels=labels, measurement=measurement)
