import os
import subprocess
import sys

SCRIPT = """
import os, sys
from workers.leaving import is_leaving, leave
to_child, from_parent = os.pipe()
child = os.fork()
if child == 0:
    os.read(to_child, 1)
    os._exit(3 if is_leaving() else 4)
assert not is_leaving()
leave()
os.write(from_parent, b"!")
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_child_hears_what_is_said_after_it_was_forked() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=dict(os.environ), check=False)
    assert done.returncode == 3
