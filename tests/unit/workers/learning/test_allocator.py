"""Memory that is given back is kept for the next step."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import ctypes, resource
from workers.learning.allocator import keep_freed_memory

{before}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
size = 64 << 20

def once():
    piece = libc.malloc(size)
    libc.memset(piece, 1, size)
    libc.free(piece)

once()
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


def faults(before: str) -> int:
    script = _FAULTS.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_large_piece_is_not_cleared_again_for_each_step() -> None:
    assert faults("assert keep_freed_memory()") < faults("") / 10
