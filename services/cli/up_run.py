"""What ``braintumor up`` does and says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import BrainTumorError
from core.settings import Settings
from services.cli.output import Output
from services.supervisor.address import bind_endpoint
from services.supervisor.local_stack import LocalStack
from services.supervisor.stack import LOGS, local_settings
from services.supervisor.stop_signals import StopSignals

STOPPED: Final = 0
FAILED: Final = 1

Waiting = Callable[[tuple[str, ...]], None]


def run_up(data_dir: Path | None, address: str | None) -> int:
    """Start the stack, keep it running, stop it; the exit status."""
    out = Output(as_json=False)
    try:
        with StopSignals() as stop:
            settings = local_settings(data_dir, address)
            with started(settings, stop, out) as ready:
                if ready is not None:
                    out.line(ready_line(settings))
                    for line in hints(settings):
                        out.line(line)
                    ready.run()
                out.line("Stopping.")
    except BrainTumorError as error:
        out.problem(error.message)
        return FAILED
    except OSError as error:
        out.problem(unfit(error))
        return FAILED
    out.line("Stopped. Nothing is lost: start again with the same data folder.")
    return STOPPED


def unfit(error: OSError) -> str:
    """What to say of a disk that is full, or of one process too many."""
    where = f": {error.filename}" if error.filename else ""
    return f"The system cannot run here: {error.strerror or type(error).__name__}{where}"


@contextmanager
def started(settings: Settings, stop: StopSignals, out: Output) -> Iterator[LocalStack | None]:
    """The stack once it is ready, or None if it was told to stop before; stopped at the end.

    Raises ``FailedPrecondition`` that says what is in the way.
    """
    with (
        _status(out) as waiting_for,
        LocalStack(settings, stop, say=out.line) as stack,
    ):
        workers = ("inference worker", "curation worker", "training worker")
        waiting_for(("broker", "gateway", *workers))
        ready = stack.wait_until_ready(waiting_for)
        waiting_for(())
        yield stack if ready else None


def ready_line(settings: Settings) -> str:
    """The line that says where everything is."""
    data = settings.data_dir
    return f"braintumor is ready at {settings.address}  (data: {data}, logs: {data / LOGS})"


def hints(settings: Settings) -> list[str]:
    """What to know and to try next."""
    endpoint = bind_endpoint(settings.address)
    where = "" if endpoint.port == 50051 else f" --address {endpoint.local_address}"
    lines = [
        f"Try: braintumor synthesize scans && braintumor datasets upload scans{where}",
        "Ctrl-C stops everything.",
    ]
    if not endpoint.loopback:
        lines.append(
            "Others on the network can reach it, and it asks nobody who they are: "
            "keep it behind a firewall or a proxy with TLS."
        )
    return lines


@contextmanager
def _status(out: Output) -> Iterator[Waiting]:
    """Shows what is being waited for: moving on a terminal, a line each elsewhere."""
    if not out.lively:
        yield lambda missing: out.line(f"Starting {', '.join(missing)}.") if missing else None
        return
    status = out.error_console().status("Starting.")

    def show(missing: tuple[str, ...]) -> None:
        if missing:
            status.update(f"Starting {', '.join(missing)}.")
        else:
            status.stop()

    with status:
        yield show
