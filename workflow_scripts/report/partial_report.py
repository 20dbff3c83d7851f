"""Build the report of whatever a study has so far; what is not there yet says so."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from workflow_scripts.common.figures import read_numbers, save_target
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import provenance
from workflow_scripts.common.targets import by_claim, load_claims, load_targets
from workflow_scripts.report.claims_table import claims_table, write_table
from workflow_scripts.report.record_not_run import write_not_run
from workflow_scripts.report.report import COHORT_FILES, build, publish

YET = "not computed yet"


def what_is_there(files, params, scratch):
    """Return `files` and `params` of the report reduced to what exists.

    `files`: {name: path or paths} of the report's inputs. Numbers that are not there, and the
    table of statements, are written into the folder `scratch` instead.
    """
    targets, claims = load_targets(files["figures"]), load_claims()
    missing = [path for path in map(Path, files["numbers"]) if not path.exists()]
    reasons = {path.parent.name: YET for path in missing}
    stand_ins = [scratch / path.parent.name / "numbers.json" for path in missing]
    write_not_run(targets, stand_ins, reasons, params.simulated)
    numbers = [path for path in map(Path, files["numbers"]) if path.exists()] + stand_ins
    records = {record["target"]: record for record in map(read_numbers, numbers)}
    write_table(claims_table(claims, by_claim(targets, claims), records), scratch / "claims.csv")
    curves = Path(files["loss_curves"])
    if not curves.exists():
        curves = scratch / "loss_curves/numbers.json"
        status = f"not run: {YET}"
        save_target(
            curves.parent, "loss_curves", None, None, {}, YET, params.simulated, status=status
        )
    columns = [files[name] for name in COHORT_FILES]
    whole = [all(Path(path).exists() for path in paths) for paths in zip(*columns, strict=True)]
    later = {c: YET for c, here in zip(params.cohorts, whole, strict=True) if not here}
    there = {
        name: [path for path, here in zip(files[name], whole, strict=True) if here]
        for name in COHORT_FILES
    }
    there |= {
        name: [path for path in files[name] if Path(path).exists()]
        for name in ("models", "retrieved")
    }
    there |= {"numbers": numbers, "claims": scratch / "claims.csv", "loss_curves": curves}
    settings = {**vars(params), "absent": {**params.absent, **later}}
    return SimpleNamespace(**{**files, **there}), SimpleNamespace(**settings)


def main(snakemake):
    """Unpack the job and say where the page is."""
    params = SimpleNamespace(**dict(snakemake.params.items()))
    folder = Path(params.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        files, params = what_is_there(params.files, params, scratch)
        now = datetime.now(UTC)
        publish(lambda part: build(files, params, part, now, provenance()), folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log.info("Report of what there is: %s", (folder / "index.html").resolve())


if __name__ == "__main__":
    run(main, globals())
