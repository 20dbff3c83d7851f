"""What the code may not contain, read from its syntax trees: one test per habit."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake.api  # noqa: F401  before its parser, which imports it in turn
from snakemake.parser import parse
from snakemake.sourcecache import LocalSourceFile

ROOT = Path(__file__).resolve().parents[3]
FILES = [
    path
    for package in ("virtues_core", "workflow_scripts", "demo", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
]
FILES += [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
TEMPLATES = sorted((ROOT / "workflow_scripts").glob("*/templates/*"))
# Formats that run code when they are read.
CODE_IN_DATA = {"joblib", "dill", "cloudpickle", "shelve", "marshal"}
UNSAFE = re.compile(
    r"pickle\.(?!UnpicklingError$)\w+|(\w+\.)+(read_pickle|to_pickle|read_hdf|HDFStore)|torch\.save"
    r"|yaml\.(load|load_all|unsafe_load|full_load)|os\.(system|popen)|jinja2\.Template"
)
# Markup is not escaped; each file that makes some, and why that is nothing of a user's.
MARKUP = {
    "workflow_scripts/report/costs.py": "Graphviz's picture of the rules, of docs/rulegraph.svg",
    "workflow_scripts/report/tables.py": "docs/deviations.md, rendered with its HTML escaped",
    "workflow_scripts/own/pictures.py": "a picture of matplotlib with no text but our own",
}


def python(path):
    """The Python of a file; rules are translated as Snakemake does it."""
    if path.suffix == ".py":
        return path.read_text()
    workflow = SimpleNamespace(sourcecache=SimpleNamespace(open=lambda source: path.open()))
    return parse(LocalSourceFile(str(path)), workflow, {})[0]


def dotted(node, modules):
    """`a.b.c` of an expression with the full names of modules, or an empty text."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([modules.get(node.id, node.id), *reversed(parts)])


def faults(path, text=None):
    """Every unsafe construction of a file as (line, what it is)."""
    found, tree = [], ast.parse(python(path) if text is None else text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    modules = {a.asname: a.name for node in imports for a in node.names if a.asname}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = f"{node.module}." if getattr(node, "module", None) else ""
            names = [f"{above}{alias.name}" for alias in node.names]
            found += [(line, name) for name in names if name.split(".")[0] in CODE_IN_DATA]
            # Under a name of its own a function would not be found below.
            found += [(line, n) for n in names if UNSAFE.fullmatch(n) or n == "torch.load"]
        elif isinstance(node, ast.Attribute):
            name = dotted(node, modules) or f"x.{node.attr}"  # a method of some expression
            if UNSAFE.fullmatch(name):
                found.append((line, name))
        elif isinstance(node, ast.Call):
            name = dotted(node.func, modules)
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
        "import pickle as p\np.load(file)",
        "import pickle\npickle.load(file)",
        "import pandas as pd\npd.read_pickle(path)",
        "pd.read_hdf(path)",
        "frame().to_pickle(path)",
        "torch.load(path)",
        "import torch as t\nt.load(path)",
        "from torch import load",
        "from yaml import load as read",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "requests.get(url, verify=False)",
        "jinja2.Environment(loader=loader)",
        "jinja2.Template(text)",
        "from jinja2 import Template",
    ],
)
def test_the_scan_finds_what_it_is_for(text):
    assert faults(Path("x.py"), text)


def test_the_scan_lets_safe_code_pass():
    text = (
        "import pickle\ntry:\n torch.load(p, weights_only=True)\nexcept pickle.UnpicklingError: 0"
    )
    assert faults(Path("x.py"), text + "\nyaml.safe_load(t)\nnp.load(p)\nmodel.eval()") == []


def test_the_scan_reads_rules(tmp_path):
    path = tmp_path / "x.smk"
    path.write_text(
        "rule x:\n    output:\n        'x',\n    params:\n        a=lambda w: eval(w.a),\n"
    )
    assert [name for _, name in faults(path)] == ["eval"]


def test_markup_is_made_where_it_is_known_to_be_safe():
    makers = {path.relative_to(ROOT).as_posix() for path in FILES if "Markup(" in path.read_text()}
    assert makers == MARKUP.keys()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parents[1].name}/{path.name}")
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
