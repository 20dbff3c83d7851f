"""The embedded study run twice, in two folders: the same files, byte for byte.

    python -m tests.workflow.test_two_runs FIRST SECOND

compares the results of two runs that are there already, for instance of two machines.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

# docs/reproducibility.md says why of each.
EXEMPT = ("logs", "benchmarks", "report", "figures/fig1e")
# How long a training took, where a simulated archive lies, and what code was checked out.
TIMES_AND_PLACES = {
    "seconds",
    "url",
    "self",
    "download_url",
    "commit",
    "dirty",
    "uncommitted_changes",
}
RECORDS = ("metrics.json", "retrieved.json", "record.json")


def without(value, keys):
    """Return JSON without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    if isinstance(value, list):
        return [without(inner, keys) for inner in value]
    return value


def content(path):
    """Return what two runs must have in common of a file."""
    if path.name in RECORDS:
        return without(json.loads(path.read_text()), TIMES_AND_PLACES)
    if path.name == "manifest.json":  # it has the checksums of those
        manifest = without(json.loads(path.read_text()), TIMES_AND_PLACES)
        kept = {k: v for k, v in manifest["inputs"].items() if not k.endswith(RECORDS)}
        return manifest | {"inputs": kept}
    if path.name == "claims.csv":
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table[table["target"] != "fig1e"].to_csv()
    return path.read_bytes()


def compared(root):
    """Return the files of a run's results that are compared, relative to them."""
    files = {path.relative_to(root) for path in Path(root).rglob("*") if path.is_file()}
    return {n for n in files if not any(n.is_relative_to(folder) for folder in EXEMPT)}


def differences(first, second):
    """Return (number of files compared, those that differ or that one of two results lacks)."""
    files = compared(first), compared(second)
    names, other = files[0] | files[1], files[0] ^ files[1]
    return len(names), sorted(
        str(name)
        for name in names
        if name in other or content(Path(first) / name) != content(Path(second) / name)
    )


def main(first, second):
    for folder in (first, second):
        if not compared(folder):
            sys.exit(f"{folder}: no results are there; name two folders such as results/demo")
    total, differing = differences(first, second)
    print(*differing, f"{total - len(differing)} of {total} files are equal", sep="\n")
    sys.exit(bool(differing))


def write(root, **changed):
    """Write a small result, a changed file or one more where asked; return its folder."""
    files = {
        "splits/tiny.csv": "p1,train",
        "claims.csv": "target,value\nfig1e,1\nfig2d,2",
        "logs/split/tiny.log": "written at noon",
        "figures/fig1e/numbers.json": "a cost, measured here",
        "models/tiny/metrics.json": json.dumps({"seconds": 1, "losses": [3]}),
        "figures/fig2d/manifest.json": json.dumps(
            {"commit": "a", "seed": 1, "inputs": {"x/metrics.json": "b", "x/model": "c"}}
        ),
    }
    for name, text in (files | changed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("logs/split/tiny.log", "written at one", True),
        ("figures/fig1e/numbers.json", "measured there", True),
        ("claims.csv", "target,value\nfig1e,9\nfig2d,2", True),
        ("models/tiny/metrics.json", '{"seconds": 2, "losses": [3]}', True),
        ("splits/tiny.csv", "p1,test", False),
        ("splits/more.csv", "", False),
        ("claims.csv", "target,value\nfig1e,1\nfig2d,3", False),
        ("models/tiny/metrics.json", '{"seconds": 1, "losses": [4]}', False),
        (
            "figures/fig2d/manifest.json",
            '{"commit": "z", "seed": 1, "inputs": {"x/metrics.json": "z", "x/model": "c"}}',
            True,
        ),
        (
            "figures/fig2d/manifest.json",
            '{"commit": "a", "seed": 1, "inputs": {"x/metrics.json": "b", "x/model": "z"}}',
            False,
        ),
    ],
)
def test_results_differ_in_all_but_times_places_and_costs(tmp_path, capsys, name, text, same):
    first, second = write(tmp_path / "1"), write(tmp_path / "2", **{name: text})
    total, differing = 5 if name == "splits/more.csv" else 4, [] if same else [name]
    assert differences(first, second) == differences(second, first) == (total, differing)
    with pytest.raises(SystemExit) as ended:
        main(first, second)
    assert bool(ended.value.code) is not same
    said = f"{total - len(differing)} of {total} files are equal"
    assert capsys.readouterr().out.splitlines() == [*differing, said]


def test_folders_without_results_are_not_equal(tmp_path):
    there, logs = write(tmp_path / "there"), tmp_path / "logs_alone"
    shutil.copytree(there / "logs", logs / "logs")
    for pair in ((tmp_path / "none", there), (there, logs), (tmp_path / "none", logs)):
        wrong = next(folder for folder in pair if folder != there)
        sentence = f"{wrong}: no results are there; name two folders such as results/demo"
        with pytest.raises(SystemExit, match=f"^{re.escape(sentence)}$"):
            main(*pair)


@pytest.mark.nightly
def test_two_runs_leave_the_same_files(checkout, snakemake):
    folders = [checkout(f"run_{number}") for number in range(2)]
    for folder in folders:
        run = snakemake(folder, "--profile", "demo", "all", timeout=3600)
        assert run.returncode == 0, run.stderr[-4000:]
    total, differing = differences(*(folder / "results/demo" for folder in folders))
    print(f"{total} files compared")
    assert total > 1000 and not differing


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m tests.workflow.test_two_runs FIRST SECOND")
    main(*sys.argv[1:])
