"""What is packaged fits the code: no engine runs the containers here, so everything that the
files name is looked up instead."""

import ast
import fnmatch
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from core import settings as settings_module
from core import task_names
from core.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE_TEXT: Final = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
CONSTRAINTS: Final = (ROOT / "constraints.txt").read_text().splitlines()

SETTINGS: Final = {f"BRAINTUMOR_{f.name.upper()}" for f in fields(Settings)}
ALIASES: Final = set(settings_module._ALSO.values())
QUEUES: Final = {
    task_names.INFERENCE_QUEUE,
    task_names.CURATION_QUEUE,
    task_names.TRAINING_QUEUE,
}
WORKERS: Final = ("inference", "curation", "training", "inference-gpu", "training-gpu")
SPOOLING: Final = {"gateway", "training", "training-gpu"}
"""Services that write temporary files as large as a data set."""
OTHERS_VARIABLES: Final = {
    "POSTGRES_USER": {"postgres"},
    "POSTGRES_DB": {"postgres"},
    "POSTGRES_PASSWORD": {"postgres"},
    "VALKEYCLI_AUTH": {"valkey"},
    "REDISCLI_AUTH": {"valkey"},
    "CUDA_VISIBLE_DEVICES": {"training-gpu"},
    "TMPDIR": SPOOLING,
}
"""Variables of other people's programs, and the services that each is for."""

_SUBSTITUTION: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


# --- reading the files --------------------------------------------------------------------------


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """The text with ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}`` put in."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if environ.get(name):
            return environ[name]
        assert kind == "-", f"{name} is needed: {rest}"
        return rest

    return _SUBSTITUTION.sub(value, text)


SECRETS: Final = {"POSTGRES_PASSWORD": "s3cret", "VALKEY_PASSWORD": "s4cret"}
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(interpolated(COMPOSE_TEXT, SECRETS))
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
OURS: Final = sorted(n for n, s in SERVICES.items() if s["image"].startswith("braintumor-"))
BUILT: Final = sorted(name for name, service in SERVICES.items() if "build" in service)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined: name and the rest."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (name.upper(), rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for name, _, rest in [line.strip().partition(" ")]
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each build stage's instructions, its FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            _, _, stage = rest.rpartition(" AS ")
            found[stage] = []
        if found:
            found[stage].append((name, rest))
    return found


def whole_stage(name: str) -> list[tuple[str, str]]:
    """A stage's instructions behind those of the stages that it begins with."""
    own = stages()[name]
    base = own[0][1].split()[0]
    return (whole_stage(base) if base in stages() else []) + own


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of ours in both files: where it stands, and its words."""
    for name in OURS:
        if "command" in SERVICES[name]:
            yield f"compose command of {name}", SERVICES[name]["command"]
        if "healthcheck" in SERVICES[name]:
            yield f"compose health check of {name}", SERVICES[name]["healthcheck"]["test"][1:]
    for stage, body in stages().items():
        for instruction, rest in body:
            if instruction == "CMD":
                yield f"command of stage {stage}", json.loads(rest)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(\d+)(s|m)", duration)
    assert found
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


# --- docker-compose.yml -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> Any:
    specification = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(specification)
    validator.check_schema(specification)
    return validator(specification)


@pytest.mark.parametrize("gpu", [{}, {"CPU_WORKERS": "0", "TRAINING_GPU": "3"}], ids=["cpu", "gpu"])
def test_the_compose_specification_allows_it(schema: Any, gpu: dict[str, str]) -> None:
    document = yaml.safe_load(interpolated(COMPOSE_TEXT, SECRETS | gpu))
    problems = [f"{e.json_path}: {e.message}" for e in schema.iter_errors(document)]
    assert problems == []


@pytest.mark.parametrize(
    "broken",
    [
        {"services": {"gateway": {"imagine": "x"}}},
        {"services": {"gateway": {"image": "x", "depends_on": {"a": {"condition": "ready"}}}}},
        {"services": {"gateway": {"image": "x", "healthcheck": {"test": 1}}}},
        {"service": {}},
    ],
)
def test_the_schema_is_strict_enough_to_refuse(schema: Any, broken: dict[str, Any]) -> None:
    assert list(schema.iter_errors(broken))


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {
        "postgres",
        "valkey",
        "migrate",
        "gateway",
        "inference",
        "curation",
        "training",
        "inference-gpu",
        "training-gpu",
    }
    assert {n for n, s in SERVICES.items() if s.get("profiles") == ["gpu"]} == {
        "inference-gpu",
        "training-gpu",
    }
    assert not [n for n, s in SERVICES.items() if s.get("profiles") not in (None, ["gpu"])]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_what_keeps_running_is_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert "stop_grace_period" in service


def test_the_migration_runs_once_and_before_everything() -> None:
    migrate = SERVICES["migrate"]
    assert (migrate["restart"], migrate["command"]) == ("no", ["python", "-m", "db.migrate"])
    assert migrate["image"] == SERVICES["gateway"]["image"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in set(OURS) - {"migrate"}:
        waits_for = {n: c["condition"] for n, c in SERVICES[name]["depends_on"].items()}
        assert waits_for == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "valkey": "service_healthy",
        }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_volumes_and_networks_are_declared(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        assert volume.partition(":")[0] in COMPOSE["volumes"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert "backend" in service["networks"]


def test_only_the_gateway_can_be_reached() -> None:
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert published == {"gateway": ["127.0.0.1:50051:50051"]}
    assert {n for n, s in SERVICES.items() if set(s["networks"]) != {"backend"}} == {
        "gateway",
        "training",
        "training-gpu",
    }


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode"} & set(service)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_has_a_default(secret: str) -> None:
    uses = [m for m in _SUBSTITUTION.finditer(COMPOSE_TEXT) if m[1] == secret]
    assert uses
    assert {m[2] for m in uses} == {"?"}
    with pytest.raises(AssertionError, match=f"{secret} is needed: set it in .env"):
        interpolated(COMPOSE_TEXT, {n: v for n, v in SECRETS.items() if n != secret})


def test_every_password_comes_from_outside() -> None:
    services = yaml.safe_load(COMPOSE_TEXT)["services"].values()
    written = {n: v for s in services for n, v in s.get("environment", {}).items()}
    secrets = [v for n, v in written.items() if re.search("PASSWORD|AUTH|SECRET|TOKEN", n)]
    assert secrets
    assert all(value.startswith("${") for value in secrets)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_variable_means_something(name: str) -> None:
    for variable in SERVICES[name].get("environment", {}):
        ours = variable in SETTINGS | ALIASES
        assert ours if name in OURS and variable not in OTHERS_VARIABLES else not ours
        if not ours:
            assert name in OTHERS_VARIABLES[variable]


@pytest.mark.parametrize("name", OURS)
def test_the_variables_make_settings(name: str) -> None:
    environ = {k: str(v) for k, v in SERVICES[name]["environment"].items()}
    settings = Settings.from_environment(environ, data_dir=Path("/var/lib/braintumor"))
    assert settings.database_url == "postgresql://braintumor:s3cret@postgres:5432/braintumor"
    assert settings.broker_url == "redis://:s4cret@valkey:6379/0"
    store = settings.artefact_url.removeprefix("file://")
    mounted = [volume.partition(":")[2] for volume in SERVICES[name].get("volumes", [])]
    assert name == "migrate" or store in mounted


@pytest.mark.parametrize("name", sorted(SPOOLING))
def test_large_temporary_files_go_to_a_disk(name: str) -> None:
    folder = SERVICES[name]["environment"]["TMPDIR"]
    assert f"scratch:{folder}" in SERVICES[name]["volumes"]
    made = [rest for instruction, rest in whole_stage("runtime") if instruction == "RUN"]
    assert folder in " ".join(made).split()


def test_the_gateway_listens_where_its_port_is_published() -> None:
    gateway = SERVICES["gateway"]
    host, _, port = gateway["environment"]["BRAINTUMOR_ADDRESS"].partition(":")
    assert host == "0.0.0.0"
    assert gateway["ports"][0].endswith(f":{port}")


def test_the_gateway_has_time_to_drain() -> None:
    gateway = SERVICES["gateway"]
    drain = float(gateway["environment"]["BRAINTUMOR_DRAIN_SECONDS"])
    assert seconds(gateway["stop_grace_period"]) >= drain + 5


def test_the_broker_refuses_rather_than_forgets_and_writes_no_picture_to_disk() -> None:
    words = SERVICES["valkey"]["command"]
    assert words[0] == "valkey-server"
    assert option(words, "--maxmemory-policy") == "noeviction"
    assert (option(words, "--save"), option(words, "--appendonly")) == ("", "no")
    assert "volumes" not in SERVICES["valkey"]


def test_postgres_keeps_its_data_where_version_18_puts_them() -> None:
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["postgres"]["volumes"] == ["pgdata:/var/lib/postgresql"]


def test_each_image_is_built_once_and_with_the_packages_asked_for() -> None:
    assert sorted(SERVICES[name]["image"] for name in BUILT) == sorted(
        {SERVICES[name]["image"] for name in OURS}
    )
    document = yaml.safe_load(interpolated(COMPOSE_TEXT, SECRETS | {"EXTRA_PACKAGES": "s3fs"}))
    for name in BUILT:
        assert document["services"][name]["build"]["args"] == {"EXTRA_PACKAGES": "s3fs"}
        assert SERVICES[name]["build"]["args"] == {"EXTRA_PACKAGES": ""}
    assert ("ARG", 'EXTRA_PACKAGES=""') in instructions()


@pytest.mark.parametrize("name", OURS)
def test_settings_of_a_site_reach_every_container_of_ours(name: str) -> None:
    assert SERVICES[name]["env_file"] == [{"path": "settings.env", "required": False}]
    bucket = {"BRAINTUMOR_ARTEFACT_URL": "s3://bucket/scans"}
    document = yaml.safe_load(interpolated(COMPOSE_TEXT, SECRETS | bucket))
    assert document["services"][name]["environment"].items() >= bucket.items()


def test_images_carry_the_projects_version() -> None:
    version = PROJECT["project"]["version"]
    for name in BUILT:
        stage = SERVICES[name]["build"]["target"]
        assert SERVICES[name]["image"] == f"braintumor-{stage}:{version}"


@pytest.mark.parametrize("name", ["inference-gpu", "training-gpu"])
def test_a_gpu_worker_reserves_one_gpu(name: str) -> None:
    (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert len(device["device_ids"]) == 1


# --- commands -----------------------------------------------------------------------------------


def test_there_are_commands_to_check() -> None:
    assert len(dict(commands())) == 19


@pytest.mark.parametrize(
    ("where", "words"), list(commands()), ids=[where for where, _ in commands()]
)
def test_every_command_exists(where: str, words: list[str]) -> None:
    program, *rest = words
    if program == "python":
        assert rest[0] == "-m"
        assert find_spec(rest[1]) is not None, f"{where}: there is no module {rest[1]}"
        return
    assert program in {script.name for script in entry_points(group="console_scripts")}
    assert program == "celery"
    assert find_spec(option(rest, "-A")) is not None
    assert set(option(rest, "-Q").split(",")) <= QUEUES


def test_each_queue_has_workers_with_and_without_gpu() -> None:
    assert "profiles" not in SERVICES["curation"]
    assert "replicas" not in SERVICES["curation"]["deploy"]
    for suffix in ("", "-gpu"):
        consumed = [
            queue
            for name in (f"inference{suffix}", "curation", f"training{suffix}")
            for queue in option(SERVICES[name]["command"], "-Q").split(",")
        ]
        assert sorted(consumed) == sorted(QUEUES)


@pytest.mark.parametrize("name", WORKERS)
def test_a_workers_health_check_looks_at_that_worker(name: str) -> None:
    command = SERVICES[name]["command"]
    _, _, module, worker, *queues = SERVICES[name]["healthcheck"]["test"][1:]
    assert module == "workers.healthcheck"
    assert option(command, "-n") == f"{worker}@%h"
    assert sorted(queues) == sorted(option(command, "-Q").split(","))


@pytest.mark.parametrize("name", ["training", "training-gpu"])
def test_each_training_job_has_a_process_of_its_own(name: str) -> None:
    command = SERVICES[name]["command"]
    assert (option(command, "-P"), option(command, "-c")) == ("prefork", "1")
    assert "--max-tasks-per-child=1" in command


@pytest.mark.parametrize("name", BUILT)
def test_an_image_started_by_hand_does_the_same(name: str) -> None:
    (command,) = [c for n, c in stages()[SERVICES[name]["build"]["target"]] if n == "CMD"]
    assert json.loads(command) == SERVICES[name]["command"]


# --- Dockerfile ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT)
def test_every_build_target_exists(name: str) -> None:
    assert SERVICES[name]["build"]["target"] in stages()


@pytest.mark.parametrize("target", sorted({SERVICES[n]["build"]["target"] for n in BUILT}))
def test_an_image_is_not_root_and_stops_when_told(target: str) -> None:
    body = whole_stage(target)
    users = [rest for name, rest in body if name == "USER"]
    assert users == ["10001:10001"]
    assert body.index(("USER", "10001:10001")) < [n for n, _ in body].index("CMD")
    assert ("STOPSIGNAL", "SIGTERM") in body
    environment = " ".join(rest for name, rest in body if name == "ENV")
    assert "PYTHONUNBUFFERED=1" in environment


def test_stages_build_on_stages_that_exist() -> None:
    known = {"python:${PYTHON_VERSION}-slim"}
    for stage, body in stages().items():
        assert body[0][1].split()[0] in known, stage
        for name, rest in body:
            for source in re.findall(r"(?:--from=|,from=)([\w-]+)", f"{name} {rest}"):
                assert source in known
        known.add(stage)


def test_the_base_image_has_a_python_that_the_project_takes() -> None:
    (version,) = [rest.partition("=")[2] for n, rest in instructions() if n == "ARG"][:1]
    assert f"{version}.0" in SpecifierSet(PROJECT["project"]["requires-python"])


def extras_of(target: str) -> set[str]:
    installed = " ".join(rest for name, rest in whole_stage(f"{target}-venv") if name == "RUN")
    found = re.search(r"pip install -c constraints\.txt '?\.(?:\[([\w,-]+)\])?'? ", installed)
    assert found, target
    return set(filter(None, (found[1] or "").split(",")))


def packages_with(extras: set[str]) -> set[str]:
    """Names of what is installed with the extras, not of what that needs in turn."""
    declared = PROJECT["project"]["optional-dependencies"]
    lines = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        lines += declared[extra]
    found = [Requirement(line) for line in lines]
    inner = {e for r in found if r.name == PROJECT["project"]["name"] for e in r.extras}
    names = {canonicalize_name(r.name) for r in found if r.name != PROJECT["project"]["name"]}
    return names | (packages_with(inner) if inner else set())


@pytest.mark.parametrize(
    ("target", "has", "lacks"),
    [
        ("gateway", {"grpcio", "alembic"}, {"tensorflow", "openvino", "onnxruntime"}),
        ("inference", {"openvino", "imagehash", "jinja2"}, {"tensorflow", "cleanlab"}),
        ("inference-gpu", {"openvino", "onnxruntime-gpu"}, {"tensorflow", "onnxruntime"}),
        ("curation", {"scikit-learn", "imagehash"}, {"tensorflow", "openvino", "onnxruntime"}),
        ("training", {"tensorflow", "tf2onnx", "cleanlab"}, {"openvino"}),
        ("training-gpu", {"tensorflow", "tf2onnx", "onnxruntime"}, {"onnxruntime-gpu"}),
    ],
)
def test_an_image_has_what_it_needs_and_no_more(
    target: str, has: set[str], lacks: set[str]
) -> None:
    packages = packages_with(extras_of(target))
    assert has <= packages
    assert not lacks & packages


def test_the_gpu_image_trains_with_cuda() -> None:
    extra = PROJECT["project"]["optional-dependencies"]["training-gpu"]
    assert {"and-cuda"} in [Requirement(line).extras for line in extra]


def test_every_variable_of_the_dockerfile_is_a_setting() -> None:
    named = set(re.findall(r"\b(?:BRAINTUMOR_[A-Z_]+|DATABASE_URL|BROKER_URL)\b", DOCKERFILE))
    assert named
    assert named <= SETTINGS | ALIASES


def test_the_build_context_holds_what_is_copied() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.rstrip("/")
        for name, rest in instructions()
        if name == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_TEXT, "\n".join(CONSTRAINTS)])
def test_no_package_index_is_named(text: str) -> None:
    assert not re.search(r"index-url|find-links|trusted-host|https?://|--index|PIP_INDEX", text)


# --- packages -----------------------------------------------------------------------------------


def test_constraints_are_names_and_versions() -> None:
    for line in CONSTRAINTS:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.+!]*", line), line
    names = [canonicalize_name(line.partition("==")[0]) for line in CONSTRAINTS]
    assert len(names) == len(set(names))


def declared_requirements() -> list[str]:
    optional = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for lines in optional for line in lines)]
    return sorted({Requirement(line).name for line in lines} - {PROJECT["project"]["name"]})


@pytest.mark.parametrize("name", declared_requirements())
def test_every_dependency_is_pinned(name: str) -> None:
    pinned = {canonicalize_name(line.partition("==")[0]) for line in CONSTRAINTS}
    assert canonicalize_name(name) in pinned


def test_files_that_are_not_code_are_installed_too() -> None:
    """A templates folder that only exists in the checkout fails in the container."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    left_out = [
        str(path.relative_to(ROOT))
        for package in ("core", "db", "services", "workers", "protos/braintumor")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".proto"}
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
    ]
    assert left_out == []


def test_console_scripts_exist() -> None:
    for target in PROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text())
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        assigned = {
            t.id
            for n in tree.body
            if isinstance(n, ast.Assign)
            for t in n.targets
            if isinstance(t, ast.Name)
        }
        assert function in defined | assigned


# --- documents ----------------------------------------------------------------------------------


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", documents(), ids=lambda p: p.name)
def test_documents_name_variables_that_exist(path: Path) -> None:
    named = set(re.findall(r"\bBRAINTUMOR_[A-Z][A-Z_]*[A-Z]\b", path.read_text()))
    assert named <= SETTINGS


@pytest.mark.parametrize("path", documents(), ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def table_of_settings() -> dict[str, str]:
    """Variable to default, from the tables of docs/configuration.md."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `(BRAINTUMOR_\w+)` \| (.+?) \| .+ \|$", text, re.MULTILINE)
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_every_setting_is_in_the_table() -> None:
    assert set(table_of_settings()) == SETTINGS


@pytest.mark.parametrize("field", fields(Settings), ids=lambda f: f.name)
def test_the_table_gives_the_right_default(field: Any) -> None:
    shown = table_of_settings()[f"BRAINTUMOR_{field.name.upper()}"]
    if field.default is MISSING or field.default == "":
        assert "`" not in shown or "data folder" in shown
        return
    value = str(field.default).lower() if field.type is bool else str(field.default)
    assert shown.partition(" (")[0] == f"`{value}`"


def test_the_changelog_knows_this_version() -> None:
    version = PROJECT["project"]["version"]
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.M)


# --- the repository -----------------------------------------------------------------------------

LARGE_FILES: Final = {"workers/starter.zip", "workers/starter_segmenter.zip"}
"""Tracked files that may be above a megabyte: the models that ship with the software."""


def test_no_large_file_is_tracked() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("this is not a git checkout")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    large = {
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and path.stat().st_size > 1_000_000
    }
    assert large == LARGE_FILES
