"""What an author reads when code of theirs fails: the words, the place and the line.

A component has no files, so the lines are kept from when it was built. The host shows one
line, so this is one line.
"""

import os
import sys

_lines: dict[str, tuple[str, list[str]]] = {}


def keep_sources(root: str, shown: str):
    """Keeps the lines of what was imported from `root`, which is called `shown`."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(root) and file.endswith(".py"):
            with open(file, encoding="utf-8") as source:
                name = shown + file[len(root) :].replace(os.sep, "/")
                _lines[file] = (name, source.read().splitlines())


def words(error: BaseException) -> str:
    """`ValueError: no number at src/module.py:12 in parse: float(text), called at …`."""
    text = str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        known = _lines.get(code.co_filename)
        if known:
            name, lines = known
            line = lines[trace.tb_lineno - 1].strip() if trace.tb_lineno <= len(lines) else ""
            places.append(f"{name}:{trace.tb_lineno} in {code.co_name}: {line}")
        trace = trace.tb_next
    places.reverse()
    if not places:
        return what
    return f"{what} at {', called at '.join(places[:4])}"
