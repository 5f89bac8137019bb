"""Lines for the operator: `log.warn(f"no unit in `{name}`")`.

The host adds pipeline, stage and module, limits rate and length, and drops what is below the
configured level. Outside a component lines go to stderr.
"""

import sys as _sys

try:
    from wit_world.imports import log as _host
except ImportError:
    _host = None


def _write(level: str, text: str):
    if _host is None:
        print(f"{level}: {text}", file=_sys.stderr)
    else:
        _host.write(_host.Level[level.upper()], text)


def trace(text: str):
    _write("trace", text)


def debug(text: str):
    _write("debug", text)


def info(text: str):
    _write("info", text)


def warn(text: str):
    """Something was wrong, and it went on."""
    _write("warn", text)


def error(text: str):
    """Data is at risk or a person is needed."""
    _write("error", text)
