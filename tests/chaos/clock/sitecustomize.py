"""Gives a process a wall clock that tests can set wrong while it runs; used through PYTHONPATH.

The file named by HYBRID_CHAOS_CLOCK holds the seconds to add, as one double.
"""

import mmap
import os
import struct
import time

_file = os.environ.get("HYBRID_CHAOS_CLOCK")
if _file and os.path.exists(_file):  # noqa: PTH110 - runs at every start, before anything else
    with open(_file, "rb") as _opened:  # noqa: PTH123
        _shared = mmap.mmap(_opened.fileno(), 8, access=mmap.ACCESS_READ)
    _real = time.time_ns

    def _time_ns() -> int:
        return _real() + int(struct.unpack("d", _shared[:8])[0] * 1e9)

    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
