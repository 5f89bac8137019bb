"""Looks at a project before a component is made of it: `python -m tapline.check PROJECT ROLE`.

What is wrong is found here within a moment, with the author's own lines. Runs on the machine's
Python, outside of any component.
"""

import ast
import importlib
import pathlib
import sys
import traceback

# What would end the component, or make results differ from one time to the next.
_MODULES = {
    "random": "randomness", "secrets": "randomness", "uuid": "randomness", "socket": "network",
    "ssl": "network", "http": "network", "urllib.request": "network", "requests": "network",
    "subprocess": "processes", "multiprocessing": "processes", "threading": "threads",
    "asyncio": "threads", "concurrent": "threads", "tempfile": "files", "shutil": "files",
}
_CLOCK = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep"},
    "datetime": {"now", "utcnow", "today"}, "date": {"today"},
}


def _impure(source: str, file: pathlib.Path):
    """Line and words for each thing that a module does not have."""
    for node in ast.walk(ast.parse(source, str(file))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            owner = node.value
            last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if node.attr in _CLOCK.get(last, ()):
                yield node.lineno, (
                    f"`{last}.{node.attr}`: a module has no clock, the host passes the time in "
                    "(`message.received_at`)"
                )
        for name in names:
            for known, what in _MODULES.items():
                if name == known or name.startswith(f"{known}."):
                    yield node.lineno, f"`{known}`: a module has no {what}"


def _place(error: BaseException, root: pathlib.Path) -> tuple[str, str]:
    """Where in the author's files it went wrong, and the line."""
    if isinstance(error, SyntaxError) and error.filename:
        where = [(error.filename, error.lineno or 0, error.text or "")]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        where = [(frame.filename, frame.lineno or 0, frame.line or "") for frame in frames]
    ours = [each for each in where if pathlib.Path(each[0]).is_relative_to(root / "src")]
    if not ours:
        return "", ""
    file, line, text = ours[-1]
    name = pathlib.Path(file).relative_to(root).as_posix()
    shown = f"\n    {text.strip()}" if text.strip() else ""
    return f"{name}:{line}: ", shown


def main(project: str, role: str) -> int:
    root = pathlib.Path(project).resolve()
    sys.path.insert(0, str(root / "src"))
    sys.dont_write_bytecode = True
    try:
        for file in sorted((root / "src").rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            name = file.relative_to(root).as_posix()
            for line, what in _impure(text, file):
                print(f"{name}:{line}: {what}\n    {text.splitlines()[line - 1].strip()}")
                return 1
        from tapline import found

        file = importlib.import_module("module")
        module = found.module_class(file, role)
        found.settings_shape(module).schema()
        if role == "detector":
            found.state_shape(module)
        return 0
    except Exception as error:
        where, line = _place(error, root)
        name = "" if type(error).__name__ == "Incomplete" else f"{type(error).__name__}: "
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        print(f"{where}{name}{words}{line}")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
