"""Logs of earlier starts are kept for a while."""

from pathlib import Path

from services.supervisor.processes import rotate_log


def test_logs_move_up_by_one_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    for start in range(5):
        rotate_log(log, kept=3)
        log.write_text(f"start {start}")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {
        "gateway.log": "start 4",
        "gateway.log.1": "start 3",
        "gateway.log.2": "start 2",
        "gateway.log.3": "start 1",
    }


def test_a_first_start_has_nothing_to_rotate(tmp_path: Path) -> None:
    rotate_log(tmp_path / "gateway.log")
    assert list(tmp_path.iterdir()) == []
