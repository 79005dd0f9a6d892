"""What an inference worker does before it says that it is ready."""

import logging
from pathlib import Path

from core.errors import BrainTumorError
from core.registry import SERVING
from workers.context import WorkerContext
from workers.starter import STARTERS, install_starter

log = logging.getLogger(__name__)


def begin_serving(context: WorkerContext) -> None:
    """Where nothing has served yet, bring the starters; then load what will be asked for."""
    if context.settings.starter_model:
        for path in STARTERS:
            _bring_starter(context, path)
    warm_up(context)


def _bring_starter(context: WorkerContext, path: Path) -> None:
    """A worker without a starter still serves every model that there will be."""
    try:
        install_starter(
            store=context.store, uow_factory=context.uow_factory, clock=context.clock, path=path
        )
    except BrainTumorError as error:
        log.warning("starter_not_installed reason=%s message=%s", error.reason, error.message)
    except Exception:
        log.exception("starter_not_installed")


def warm_up(context: WorkerContext) -> None:
    """Load the runtime and the models that serve, so that the first caller does not wait for them.

    A model that cannot be loaded is no reason not to start: other versions may be asked for, and
    whoever asks for this one is told what is wrong.
    """
    for alias in SERVING.values():
        try:
            _load(context, alias)
        except BrainTumorError as error:
            log.warning("warm_up_failed reason=%s message=%s", error.reason, error.message)
        except Exception:  # of a runtime that cannot read the graph
            log.exception("warm_up_failed")


def _load(context: WorkerContext, alias: str) -> None:
    sessions = context.batch_runner.sessions
    with context.uow_factory() as uow:
        aliased = uow.models.aliased(alias)
    if aliased is not None:
        sessions.get(aliased[1])
