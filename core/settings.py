"""Settings from the environment, read once at start."""

import math
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from core.errors import FieldViolation, InvalidArgument

MIB: Final = 1024 * 1024


def default_data_dir() -> Path:
    """Where data live unless told otherwise: the XDG data folder of the current user."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "braintumor"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of gateway and workers. Times are seconds, sizes bytes unless the name says.

    Each field is read from ``BRAINTUMOR_<FIELD>`` in capitals; ``DATABASE_URL`` and ``BROKER_URL``
    are understood too, since hosting platforms set them.
    """

    data_dir: Path
    """Folder of the SQLite file, artefacts and logs when nothing else is configured."""
    database_url: str
    """SQLAlchemy URL; default is SQLite in the data folder."""
    broker_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey: redis://, rediss:// or unix://."""
    artefact_url: str
    """fsspec URL of the artefact store; default is a folder in the data folder."""
    weights_dir: Path
    """Server-side folder that ``weights=file:NAME`` reads from."""
    import_roots: str = ""
    """Folders that ``file://`` imports of data sets and of weights may read, separated by ':';
    empty allows none."""
    import_remote: bool = False
    """Whether imports may read other fsspec URLs (s3://, https://). Off by default: a client could
    otherwise make the server fetch from inside its network."""
    address: str = "127.0.0.1:50051"
    """Where the gateway listens."""
    max_image_bytes: int = 32 * MIB
    """Largest encoded picture that is accepted."""
    max_image_pixels: int = 64_000_000
    """Largest width times height that is decoded."""
    max_dataset_bytes: int = 8 * 1024 * MIB
    """Largest upload, and largest archive when unpacked."""
    max_batch_size: int = 8
    """Most pictures in one Celery message."""
    max_batches_in_flight: int = 2
    """Most inference messages of one gateway that are unanswered at a time."""
    max_requests_in_flight: int = 128
    """Most classifications a gateway holds; above it callers are told to come back."""
    max_bytes_in_flight: int = 64 * MIB
    """Most bytes of accepted pictures a gateway holds, unless it is a single one; above it callers
    are told to come back."""
    max_messages_waiting: int = 64
    """Most inference messages, of all gateways, that wait for a worker; above it callers are told
    to come back."""
    inference_timeout_seconds: float = 20.0
    """How long a classification may take, whatever deadline its caller sets."""
    pickup_timeout_seconds: float = 10.0
    """How long a message may wait for a worker to start on it."""
    ingest_pickup_timeout_seconds: float = 600.0
    """How long a data set may wait for a worker to start checking it."""
    ingest_timeout_seconds: float = 1800.0
    """How long checking and storing an uploaded data set may take."""
    result_cache_seconds: float = 0.0
    """How long an answer is kept in the broker for whoever asks the same; 0 keeps none."""
    result_cache_bytes: int = 64 * MIB
    """Most bytes of the broker's memory that kept answers take; above it the oldest go."""
    result_cache_answer_bytes: int = MIB // 4
    """Largest answer that is kept."""
    broker_timeout_seconds: float = 2.0
    """How long to wait for a connection to the broker."""
    drain_seconds: float = 20.0
    """How long work in flight may take to end after SIGTERM."""
    training_heartbeat_seconds: float = 2.0
    """How often a running training job writes its heartbeat and looks for a cancel."""
    training_stale_seconds: float = 60.0
    """A running job without a heartbeat for this long has lost its worker."""
    training_max_attempts: int = 3
    """How often a job may start and get no further before a lost worker fails it."""
    training_visibility_seconds: float = 7 * 24 * 3600.0
    """Redis redelivers an unacknowledged message after this; longer than any training job."""
    sweep_seconds: float = 3.0
    """How often the gateway looks for jobs that were committed and never sent, or lost."""
    inference_device: str = "auto"
    """auto, cpu (OpenVINO), onnxruntime (CPU) or cuda (ONNX Runtime)."""
    inference_precision: str = "auto"
    """For OpenVINO: f32, bf16, or auto for bf16 where the CPU computes in it."""
    inference_streams: int = 2
    """OpenVINO streams, and threads of ONNX Runtime on CPU."""
    model_cache_size: int = 4
    """How many model versions a worker keeps loaded."""
    starter_model: bool = True
    """Whether an inference worker registers and promotes the models that ship with the software,
    each where none has ever served its task."""
    training_threads: int = 0
    """TensorFlow threads of a training job; 0 means all cores."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "auto"
    """json, console, or auto: console on a terminal, JSON elsewhere."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Settings from the environment; keyword arguments win over it.

        Raises ``InvalidArgument`` that names each variable with a value that cannot be used.
        """
        env = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        violations: list[FieldViolation] = []
        for spec in fields(cls):
            variable = f"BRAINTUMOR_{spec.name.upper()}"
            text = env.get(variable) or env.get(_ALSO.get(spec.name, ""), "")
            if not text:
                continue
            try:
                values[spec.name] = _parse(text, spec)
            except ValueError as exc:
                violations.append(FieldViolation(variable, f"{text!r} {exc}"))
        if violations:
            raise InvalidArgument(tuple(violations))
        values.update(overrides)
        data_dir = Path(values.setdefault("data_dir", default_data_dir())).expanduser().resolve()
        values["data_dir"] = data_dir
        values.setdefault("database_url", f"sqlite:///{data_dir / 'braintumor.db'}")
        values.setdefault("artefact_url", (data_dir / "artefacts").as_uri())
        # Absolute, since child processes may start in another folder.
        weights_dir = Path(values.get("weights_dir", data_dir / "weights"))
        values["weights_dir"] = weights_dir.expanduser().resolve()
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """The variables that make :meth:`from_environment` in a child process give the same."""
        return {f"BRAINTUMOR_{f.name.upper()}": str(getattr(self, f.name)) for f in fields(self)}


_ALSO: Final = {"database_url": "DATABASE_URL", "broker_url": "BROKER_URL"}

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "inference_device": ("auto", "cpu", "onnxruntime", "cuda"),
    "inference_precision": ("auto", "f32", "bf16"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR"),
    "log_format": ("auto", "json", "console"),
}
_SWITCH: Final = ("1", "0", "true", "false", "yes", "no")
_MAY_BE_ZERO: Final = frozenset({"drain_seconds", "result_cache_seconds", "training_threads"})


def _parse(text: str, spec: Field[Any]) -> Any:
    """The field's value. Raises ``ValueError`` that says what it must be."""
    if spec.name in _CHOICES:
        return _one_of(text, _CHOICES[spec.name])
    if spec.type is bool:
        return _one_of(text, _SWITCH) in {"1", "true", "yes"}
    if spec.type in {int, float}:
        return _number(text, spec)
    kind: Any = spec.type
    return kind(text)


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    known = {choice.lower(): choice for choice in choices}
    try:
        return known[text.strip().lower()]
    except KeyError:
        raise ValueError(f"is not one of {', '.join(choices)}") from None


def _number(text: str, spec: Field[Any]) -> int | float:
    zero = spec.name in _MAY_BE_ZERO
    problem = (
        f"is not a {'whole ' if spec.type is int else ''}number {'from' if zero else 'above'} 0"
    )
    try:
        number = int(text) if spec.type is int else float(text)
    except ValueError:
        raise ValueError(problem) from None
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(problem)
    return number
