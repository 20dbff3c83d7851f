"""A hash of what a script does, so that an edited docstring retrains nothing."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("virtues_core", "workflow_scripts", "demo")
# They say what happens and where it came from, but change no number, and neither does what they
# import: an error told in better words must not train a model anew.
SILENT = {
    f"workflow_scripts/common/{name}.py"
    for name in (
        "job",
        "mock",
        "errors",
        "manifest",
        "provenance",
        "training/watch",
        "training/time_left",
    )
}
# What pictures and pages look like counts for the modules that name it: these files of resources/
# and a folder beside the module. Other data are inputs of their rules.
LOOKS = ("palette.yaml", "study.mplstyle")
TEMPLATES = "templates"


def code_hash(*scripts):
    """Return a hash of scripts (paths from the root) and of all that they import from here.

    Syntax trees are hashed, with docstrings left out: comments and layout do not count. Templates,
    palette and style of what a module draws or writes are hashed as they are. A module that is
    chosen by name while a job runs is no import; its rule names it beside the script.
    """
    digest = hashlib.sha256()
    for file in sorted(set().union(*(_reached(ROOT / script) for script in scripts))):
        digest.update(_name(file).encode() + _without_docstrings(file).encode())
        for look in _looks(file):
            digest.update(_name(look).encode() + look.read_bytes())
    return digest.hexdigest()[:16]


def _reached(file):
    """Return `file` and the files here that it imports, directly or not, but through no SILENT."""
    reached, ahead = set(), [file]
    while ahead:
        file = ahead.pop()
        if file not in reached and _name(file) not in SILENT:
            reached.add(file)
            ahead += _imports(file)
    return reached


def _name(file):
    return file.relative_to(ROOT).as_posix()


@cache
def _imports(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [
        path
        for name in names
        if name.split(".")[0] in PACKAGES
        for path in _modules(ROOT.joinpath(*name.split(".")))
    ]


def _modules(path):
    """Return the files that importing a dotted name runs: a module, or a package's __init__."""
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


@cache
def _looks(file):
    """Return the files that a module names in its text and takes the look of its output from."""
    tree = ast.parse(file.read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    looks = [ROOT / "resources" / name for name in LOOKS if name in words]
    if TEMPLATES in words:
        looks += sorted(path for path in (file.parent / TEMPLATES).rglob("*") if path.is_file())
    return looks


@cache
def _without_docstrings(file):
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
    return ast.dump(tree)
