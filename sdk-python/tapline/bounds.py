"""What a module does not have, in words: where Python would reach for it, the component would
otherwise end without any."""

import builtins
import io
import sys
import time

from . import log


class Lines(io.TextIOBase):
    """What is printed goes to the log, line by line."""

    def __init__(self, write):
        self._write, self._rest = write, ""

    def writable(self):
        return True

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._write(line)
        return len(text)

    def flush(self):
        if self._rest:
            self._write(self._rest)
            self._rest = ""


class TooLate:
    """Refuses imports once the component is made: its files are gone."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ImportError(
            f"`{name}` is imported while messages are read, and a module has no files: import it "
            "at the top of the file"
        )


def _without(what):
    def refuse(*_, **__):
        raise RuntimeError(what)

    return refuse


def set_up():
    """Before the author's code is read."""
    sys.stdout, sys.stderr = Lines(log.info), Lines(log.warn)
    clock = _without("a module has no clock: the host passes the time in (`message.received_at`)")
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter",
                 "perf_counter_ns", "process_time", "process_time_ns", "sleep"):
        if hasattr(time, name):
            setattr(time, name, clock)


def close():
    """When the component is called for the first time."""
    if sys.meta_path and sys.meta_path[0] is not TooLate:
        sys.meta_path.insert(0, TooLate)
        builtins.open = io.open = _without("a module has no files")
