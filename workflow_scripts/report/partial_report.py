"""Build the report of whatever a study has so far; what is not there yet says so."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from workflow_scripts.common.damage import damaged
from workflow_scripts.common.figures import read_numbers, save_target
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import provenance
from workflow_scripts.common.targets import by_claim, load_claims, load_targets
from workflow_scripts.report.claims_table import claims_table, write_table
from workflow_scripts.report.record_not_run import write_not_run
from workflow_scripts.report.report import COHORT_FILES, build, publish

YET = "not computed yet"


def why_not(path):
    """Return why a file or folder of the study is left out; nothing if it is there and whole."""
    if not Path(path).exists():
        return YET
    found = damaged([path])
    if found is None:
        return ""
    path, file, reason = found
    return f"{file} is damaged or cut short ({reason}); delete {path} and start again"


def what_is_there(files, params, scratch):
    """Return `files` and `params` of the report reduced to what can be read, and why not the rest.

    `files`: {name: path or paths} of the report's inputs. Numbers that cannot be had, and the
    table of statements, are written into the folder `scratch` instead. What is merely not computed
    yet is not among the reasons.
    """
    targets, claims = load_targets(files["figures"]), load_claims()
    reasons = {path: why_not(path) or why_not(path.parent) for path in map(Path, files["numbers"])}
    lacking = {path.parent.name: reason for path, reason in reasons.items() if reason}
    stand_ins = [scratch / target / "numbers.json" for target in lacking]
    write_not_run(targets, stand_ins, lacking, params.simulated)
    numbers = [path for path, reason in reasons.items() if not reason] + stand_ins
    records = {record["target"]: record for record in map(read_numbers, numbers)}
    write_table(claims_table(claims, by_claim(targets, claims), records), scratch / "claims.csv")
    curves = Path(files["loss_curves"])
    no_curves = why_not(curves) or why_not(curves.parent)
    if no_curves:
        curves = scratch / "loss_curves/numbers.json"
        status = f"not run: {no_curves}"
        save_target(
            curves.parent, "loss_curves", None, None, {}, YET, params.simulated, status=status
        )
    columns = [files[name] for name in COHORT_FILES]
    gaps = [_first(map(why_not, paths)) for paths in zip(*columns, strict=True)]
    later = {c: reason for c, reason in zip(params.cohorts, gaps, strict=True) if reason}
    paths = [*files["models"], *files["retrieved"], *params.downloads]
    others = {path: why_not(path) for path in paths}
    there = {
        name: [path for path, gap in zip(files[name], gaps, strict=True) if not gap]
        for name in COHORT_FILES
    }
    there |= {n: [path for path in files[n] if not others[path]] for n in ("models", "retrieved")}
    there |= {"numbers": numbers, "claims": scratch / "claims.csv", "loss_curves": curves}
    settings = {**vars(params), "absent": {**params.absent, **later}}
    settings["downloads"] = [path for path in params.downloads if not others[path]]
    said = [*lacking.values(), no_curves, *later.values(), *others.values()]
    return (
        SimpleNamespace(**{**files, **there}),
        SimpleNamespace(**settings),
        [reason for reason in said if reason not in ("", YET)],
    )


def _first(reasons):
    return next(filter(None, reasons), "")


def main(snakemake):
    """Unpack the job and say where the page is."""
    params = SimpleNamespace(**dict(snakemake.params.items()))
    folder = Path(params.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        files, params, left_out = what_is_there(params.files, params, scratch)
        for reason in left_out:
            log.warning("%s", reason)
        now = datetime.now(UTC)
        publish(lambda part: build(files, params, part, now, provenance(), left_out), folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log.info("Report of what there is: %s", (folder / "index.html").resolve())


if __name__ == "__main__":
    run(main, globals())
