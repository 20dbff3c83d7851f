"""Show what of a study's results can be computed again, with sizes; remove it with --yes.

    python -m workflow_scripts.commands.clean_intermediate [--configfile demo/study.yaml] [--yes]

Figures, tables, models, metadata, the report and downloads stay, and a finished study stays
finished: Snakemake computes an intermediate file again only when something new needs it.
"""

import argparse
import shutil
import sys
from pathlib import Path

import yaml
from snakemake.utils import update_config

from workflow_scripts.common.at_work import refuse_at_work
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import read_yaml

ROOT = Path(__file__).resolve().parents[2]
INTERMEDIATE = {
    "ingest/*/images": "harmonised images; the folders cohorts/*/imc link to them",
    "ingest/*/cell_masks": "cell masks; linked as well",
    "ingest/*/tissue_masks": "tissue masks; linked as well",
    "cohorts/*/model_ready": "preprocessed images",
    "embeddings/*/*": "tokens",
    "tasks/*": "what figures are drawn from",
    "checkpoints/*": "states of unfinished trainings, which would start over",
}


def found(results):
    """Return [(what, note, paths, bytes)] of the intermediate files in a study's results."""
    rows = []
    for pattern, note in INTERMEDIATE.items():
        paths = sorted(path for path in Path(results).glob(pattern) if not path.is_symlink())
        if paths:
            rows.append((pattern, note, paths, sum(map(size, paths))))
    return rows


def size(path):
    """Return the bytes of a file or of all files of a folder; links count nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def study_name(configfiles):
    """Return the name of the study that config.yaml and its overlays describe."""
    config = read_yaml(ROOT / "config.yaml")
    for file in configfiles:
        try:
            update_config(config, read_yaml(file))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{file}: cannot be read ({error}); check --configfile") from None
    return config["study"]


def clean(results, yes):
    """Return what there is as lines of text; removed if `yes`."""
    rows = found(results)
    if not rows:
        return [f"{results}: no intermediate files"]
    lines = [
        f"{amount / 1e6:12,.1f} MB  {what} ({len(paths)}): {note}"
        for what, note, paths, amount in rows
    ]
    total = sum(amount for *_, amount in rows) / 1e6
    if not yes:
        return [*lines, f"{total:12,.1f} MB together in {results}; nothing was removed, --yes does"]
    for _, _, paths, _ in rows:
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [*lines, f"{total:12,.1f} MB removed from {results}"]


def main(arguments=None):
    """Show and perhaps remove; a run that is under way is left alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", nargs="+", default=[])
    parser.add_argument("--yes", action="store_true", help="remove what is shown")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.yes:
            refuse_at_work(Path.cwd())
        lines = clean(Path("results") / study_name(parsed.configfile), parsed.yes)
    except InputError as error:
        sys.exit(str(error))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
