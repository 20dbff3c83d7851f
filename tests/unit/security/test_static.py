"""What the code may not contain, read from its syntax trees: one test per habit."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = [
    path
    for package in ("virtues_core", "workflow_scripts", "demo", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
]
TEMPLATES = sorted((ROOT / "workflow_scripts/report/templates").iterdir())
# Formats that run code when they are read.
CODE_IN_DATA = {"joblib", "dill", "cloudpickle", "shelve", "marshal"}


def dotted(node):
    """`a.b.c` of an expression, or an empty text."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def faults(path, text=None):
    """Every unsafe construction of a file as (line, what it is)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text() if text is None else text)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [(line, name) for name in names if name.split(".")[0] in CODE_IN_DATA]
            if isinstance(node, ast.ImportFrom) and node.module == "pickle":
                found.append((line, "from pickle import"))
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            if name.startswith("pickle.") and name != "pickle.UnpicklingError":
                found.append((line, name))
            if re.search(r"\.(read_pickle|to_pickle|unsafe_load|full_load)$|^os\.system$", name):
                found.append((line, name))
            if name in ("yaml.load", "torch.save"):
                found.append((line, name))
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            words = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            if name in ("eval", "exec", "compile"):
                found.append((line, name))
            if name == "torch.load" and words.get("weights_only") is not True:
                found.append((line, "torch.load without weights_only=True"))
            for word, bad in (("allow_pickle", True), ("shell", True), ("verify", False)):
                if words.get(word) is bad:
                    found.append((line, f"{word}={bad}"))
            if name.endswith("Environment") and words.get("autoescape") is not True:
                found.append((line, "a template without autoescape=True"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_the_code_runs_what_data_say(path):
    assert faults(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "import joblib",
        "from pickle import loads",
        "import pickle\npickle.load(file)",
        "import pandas as pd\npd.read_pickle(path)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "requests.get(url, verify=False)",
        "jinja2.Environment(loader=loader)",
    ],
)
def test_the_scan_finds_what_it_is_for(text):
    assert faults(Path("x.py"), text)


def test_the_scan_lets_safe_code_pass():
    text = (
        "import pickle\ntry:\n torch.load(p, weights_only=True)\nexcept pickle.UnpicklingError: 0"
    )
    assert faults(Path("x.py"), text + "\nyaml.safe_load(t)\nnp.load(p)\nmodel.eval()") == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_mark_only_their_own_words_as_safe(path):
    text = path.read_text(encoding="utf-8")
    for before in re.findall(r"([^\s]+)\s*\|\s*safe\b", text):
        assert re.search(r"['\"]$", before), before
    assert "autoescape" not in text and "innerHTML" not in text


def test_credentials_are_read_in_one_place():
    """From the environment alone: no setting, no command line, no file holds one."""
    secret = re.compile(r"['\"](\w*(?:TOKEN|PASSWORD|SECRET|API_KEY)\w*)['\"]")
    readers = {
        path.relative_to(ROOT).as_posix() for path in FILES if secret.search(path.read_text())
    }
    assert readers == {"workflow_scripts/common/access.py"}
    schemas = (ROOT / "config.schema.yaml", ROOT / "cohort.schema.yaml")
    for schema in schemas:
        keys = re.findall(r"^\s*(\w+):", schema.read_text(), re.M)
        assert not [key for key in keys if re.search(r"token|password|secret", key)]


def test_only_https_file_and_this_machine_are_asked():
    files = [*FILES, *ROOT.glob("cohorts/*.yaml"), ROOT / "config.yaml"]
    for path in files:
        for url in re.findall(r"\bhttp://[\w.-]+", path.read_text()):
            # The last two name vocabularies of XML, which nobody asks.
            known = ("localhost", "127.0.0.1", "www.openmicroscopy.org", "www.fluidigm.com")
            assert url.split("//")[1] in known, f"{path.name}: {url}"
