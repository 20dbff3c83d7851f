"""Build the report: one folder that opens offline, with every panel, statement and cost."""

import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import yaml

from workflow_scripts.common.access import redact
from workflow_scripts.common.job import log, run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import read_numbers
from workflow_scripts.common.pages import environment, size
from workflow_scripts.common.provenance import provenance, sha256
from workflow_scripts.common.targets import load_targets, numbered
from workflow_scripts.common.validation import read_yaml
from workflow_scripts.common.verdict import VERDICTS
from workflow_scripts.report import tables, wording
from workflow_scripts.report.cards import cards, copy_files, read_statements
from workflow_scripts.report.costs import cost_rows, read_benchmarks, rule_graph, stage_rows
from workflow_scripts.report.model_cards import model_cards
from workflow_scripts.report.scores import score_table

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).parent / "templates"
PALETTE = ROOT / "resources" / "palette.yaml"
LOCK = ROOT / "envs" / "requirements.lock"
COHORT_FILES = ("cards", "tissues", "cells", "exclusions", "sub_images", "channels", "ingest")
WORDS = {"reproduced": "are reproduced", "close": "are close", "differs": "differ"}
SHOWN = 4  # reasons named on the first screen
LIMIT = 30e6  # bytes of the folder; more is worth a line in the log


def sentences(statements, groups, cohorts, simulated):
    """Return what the first screen says in words: what was found, what not and why."""
    counts = Counter(row["kind"] for row in statements)
    total = len(statements)
    if simulated:
        first = (
            f"All cohorts are simulated: {counts['simulated data']} of {total} statements got a "
            "number, and none of these numbers is a result."
        )
    else:
        got = ", ".join(f"{counts[k]} {w}" for k, w in WORDS.items())
        first = f"Of the paper's {total} statements, {got}."
    reasons = tables.reason_counts(row["verdict"] for row in statements)
    written = ", ".join(f"{reason} ({count})" for reason, count in reasons[:SHOWN])
    others = sum(count for _, count in reasons[SHOWN:])
    if others:
        written += f", {others} for other reasons, named with each statement"
    second = f"{counts['not run']} were not run: {written}." if reasons else "All were run."
    everything = [card for _, group in groups for card in group]
    drawn = sum(card["picture"] for card in everything)
    schematic = sum(card["state"] == "schematic" for card in everything)
    third = (
        f"{drawn} of {len(everything) - schematic} panels and tables have a picture; "
        f"{schematic} more are drawings in the paper and compute nothing."
    )
    images = sum(cohort["kept"] for cohort in cohorts)
    patients = sum(cohort["patients"] for cohort in cohorts)
    fourth = (
        f"Computed from {wording.plural(images, 'image')} of "
        f"{wording.plural(patients, 'patient')} in {wording.plural(len(cohorts), 'cohort')}."
    )
    return [first, second, third, fourth]


def build(files, params, folder, now, origin, left_out=()):
    """Write the report into `folder` (which must not exist) and return its size in bytes.

    `files`: the job's inputs by name, lists in the same order of cohorts; `params`: those of the
    rule; `now`: a datetime; `origin`: the answer of `provenance`; `left_out`: why files of
    the study are not among `files`.
    """
    targets = load_targets(files.figures)
    statements = read_statements(files.claims, targets, params.simulated)
    records = {r["target"]: r for r in map(read_numbers, files.numbers)}
    groups = cards(targets, records, statements)
    sources = {Path(path).parent.name: Path(path).parent for path in files.numbers}
    folder.mkdir(parents=True)
    with_files = set(numbered(targets))
    for card in (card for _, group in groups for card in group if card["id"] in with_files):
        copy_files(card, sources[card["id"]], folder)
    curves = {"id": "loss_curves", **read_numbers(files.loss_curves)}
    copy_files(curves, Path(files.loss_curves).parent, folder)
    shutil.copyfile(files.claims, folder / "claims.csv")
    columns = (getattr(files, name) for name in COHORT_FILES)
    cohorts = [tables.cohort_row(*paths) for paths in zip(*columns, strict=True)]
    benchmarks, damaged = read_benchmarks(sorted(Path(params.benchmark_folder).rglob("*.tsv")))
    left_out = [*left_out, *(f"{path} is damaged; its job has no costs here" for path in damaged)]
    costs = cost_rows(benchmarks, params.gpus)
    stages = stage_rows(params.stages, costs)
    ran = {rule for stage in stages for rule in stage["ran"]}
    models = [tables.model_row(path) for path in files.models]
    known = [*dict.fromkeys([c["id"] for c in cohorts] + list(params.absent))]
    scores = score_table(records, known, params.models)
    counts = Counter(row["kind"] for row in statements)
    words = (wording.brief, wording.duration, wording.figure, wording.plural, size, name)
    templates = environment(TEMPLATES, *words)
    (folder / "models").mkdir()
    for card in model_cards(models, cohorts, scores, params.simulated):
        text = templates.get_template("model_card.md").render(card=card)
        path = folder / "models" / f"{card['instance']}.md"
        path.write_text(redact(text), encoding="utf-8")
    page = templates.get_template("index.html").render(
        study=params.study,
        simulated=params.simulated,
        partial=params.partial,
        now=now,
        origin=origin | {"lock": sha256(LOCK), "configfiles": params.configfiles},
        verdicts=[(name, counts[name]) for name in VERDICTS],
        palette=read_yaml(PALETTE)["verdicts"],
        sentences=[
            *sentences(statements, groups, cohorts, params.simulated),
            *(f"Left out: {reason}." for reason in left_out),
        ],
        stages=stages,
        graph=rule_graph(Path(files.graph).read_text(encoding="utf-8"), ran),
        groups=groups,
        statements=statements,
        scores=scores,
        cohorts=cohorts,
        absent=tables.absent_rows([c["id"] for c in cohorts], params.absent),
        left_out=params.left_out,
        curves=curves,
        models=models,
        costs=costs,
        inputs=tables.input_rows([*files.retrieved, *filter(os.path.exists, params.downloads)]),
        decisions=tables.decision_rows(files.decisions, params.config),
        deviations=tables.deviations(files.deviations),
        config=yaml.safe_dump(params.config, sort_keys=False, allow_unicode=True),
    )
    # Settings and messages are printed as they are; a credential may stand in none of them.
    (folder / "index.html").write_text(redact(page), encoding="utf-8")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def publish(write, folder):
    """Call `write(temporary sibling)` and put the result in the place of `folder`."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        answer = write(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return answer


def main(snakemake):
    """Unpack the job."""
    folder = Path(snakemake.output.page).parent
    now = datetime.now(UTC)
    weight = publish(
        lambda part: build(snakemake.input, snakemake.params, part, now, provenance()), folder
    )
    log.info("%s: %s", folder, size(weight))
    if weight > LIMIT:
        log.warning("the report is larger than %s; are pictures too large?", size(LIMIT))


if __name__ == "__main__":
    run(main, globals())
