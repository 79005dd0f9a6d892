"""What an inference worker does before it says that it is ready."""

import logging

from core.errors import BrainTumorError
from core.registry import PRODUCTION
from workers.context import WorkerContext

log = logging.getLogger(__name__)


def warm_up(context: WorkerContext) -> None:
    """Load the runtime and the production model, so that the first caller does not wait for them.

    A model that cannot be loaded is no reason not to start: other versions may be asked for, and
    whoever asks for this one is told what is wrong.
    """
    sessions = context.batch_runner.sessions
    try:
        with context.uow_factory() as uow:
            production = uow.models.aliased(PRODUCTION)
        if production is not None:
            sessions.get(production[1])
    except BrainTumorError as error:
        log.warning("warm_up_failed reason=%s message=%s", error.reason, error.message)
    except Exception:  # of a runtime that cannot read the graph
        log.exception("warm_up_failed")
