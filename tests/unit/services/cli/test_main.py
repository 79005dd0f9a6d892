"""The command line as a whole."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from services.cli.main import app

COMMANDS = {
    "": [
        "up",
        "quickstart",
        "classify",
        "train",
        "synthesize",
        "datasets",
        "jobs",
        "models",
        "audit",
    ],
    "datasets": ["upload", "import", "list", "show", "delete"],
    "jobs": ["list", "show", "watch", "cancel"],
    "models": ["list", "show", "compare", "promote", "rollback", "report"],
    "audit": ["list", "show", "review", "verify", "export"],
}


@pytest.mark.parametrize("group", COMMANDS)
def test_every_command_is_there_with_help(group: str) -> None:
    for command in COMMANDS[group]:
        done = CliRunner().invoke(app, [*group.split(), command, "--help"])
        assert done.exit_code == 0, done.output
        assert "Usage" in done.output


@pytest.mark.parametrize(
    "command",
    [f"{g} {c}".strip() for g, cs in COMMANDS.items() for c in cs if c not in COMMANDS],
)
def test_what_talks_to_a_server_takes_address_and_json(command: str) -> None:
    text = CliRunner().invoke(app, [*command.split(), "--help"]).output
    local = command in {"up", "quickstart", "synthesize"}
    assert ("--json" in text) is not local
    assert ("--address" in text) is (command != "synthesize")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["classify"],
        ["classify", "/no/such/file"],
        ["train"],
        ["train", "--dataset", "d", "--backbone", "alexnet"],
        ["train", "--dataset", "d", "--set", "epochs=0"],
        ["models", "promote", "m", "--force"],
        ["datasets", "import", "/no/such/folder"],
        ["audit", "list", "--limit", "-1"],
    ],
)
def test_bad_usage_is_status_2(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr


def test_a_search_does_not_offer_what_it_refuses() -> None:
    def help_of(command: str) -> str:
        return CliRunner().invoke(app, [command, "--help"]).output

    assert "folds" in help_of("train")
    assert "folds" not in help_of("search")
    assert "epochs" in help_of("search")


@pytest.mark.parametrize("command", ["promote", "rollback", "history"])
def test_each_alias_option_says_its_own_default(command: str) -> None:
    text = CliRunner().invoke(app, ["models", command, "--help"]).output
    assert "production" in text
    assert ("segmentation" in text) == (command == "promote")


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = (
        "import sys, services.cli.main\n"
        "heavy = {'grpc', 'numpy', 'PIL', 'celery', 'sqlalchemy', 'tensorflow', 'rich.console'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_synthesize_draws_scans(tmp_path: object) -> None:
    done = CliRunner().invoke(
        app, ["synthesize", f"{tmp_path}/out", "--per-class", "1", "--size", "32"]
    )
    assert done.exit_code == 0
    assert "4 synthetic scans" in done.output


def test_up_refuses_an_address_that_is_none(tmp_path: object) -> None:
    done = CliRunner().invoke(app, ["up", "--data-dir", f"{tmp_path}/d", "--address", "nonsense"])
    assert done.exit_code == 1
    assert "not HOST:PORT" in done.stderr
