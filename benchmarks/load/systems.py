"""Which systems a run compares, and with which."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from benchmarks.load import bare, mlserver, service
from benchmarks.load.arguments import BARE, MLSERVER, Plan
from benchmarks.load.mlserver_environment import NotInstalled, install_mlserver
from benchmarks.load.model import Model
from benchmarks.load.scans import Scans
from benchmarks.load.system import System


def chosen_systems(
    plan: Plan, folder: Path, model: Model, scans: Scans, say: Callable[[str], None]
) -> Sequence[System]:
    """Those of the plan. Says so, and goes on, if MLServer cannot be installed."""
    systems = [*_services(plan, folder, model, scans)]
    if BARE not in plan.without:
        systems.append(bare.bare_runtime(model, scans, service.settings(folder)))
    if MLSERVER not in plan.without:
        systems += _mlserver(plan.work, folder, model, scans, say)
    return systems


def pairs(systems: Sequence[System]) -> Sequence[tuple[str, str]]:
    """The names of each service and each of its peers."""
    names = [system.name for system in systems]
    services = [name for name in names if name in service.NAMES]
    return list(product(services, [name for name in names if name not in services]))


def _services(plan: Plan, folder: Path, model: Model, scans: Scans) -> Sequence[System]:
    on_sqlite = service.service(service.ON_SQLITE, folder / "sqlite", model, scans)
    if plan.database_url is None:
        return [on_sqlite]
    home = folder / "postgresql"
    on_postgresql = service.service(service.ON_POSTGRESQL, home, model, scans, plan.database_url)
    return [on_sqlite, on_postgresql]


def _mlserver(
    work: Path, folder: Path, model: Model, scans: Scans, say: Callable[[str], None]
) -> Sequence[System]:
    say("Installing MLServer, unless that was done before.")
    try:
        installed = install_mlserver(work)
    except NotInstalled as reason:
        say(f"MLServer is left out, since it cannot be installed here: {reason}")
        return []
    return [mlserver.mlserver(folder / "mlserver", installed, model, scans)]
