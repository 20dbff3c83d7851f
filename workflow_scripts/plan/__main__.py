"""Say what a study would run, what not and why, and estimate what that takes.

    python -m workflow_scripts.plan [TARGET] [--configfile demo/study.yaml] [--rate 312 --share 0.3]

Nothing is run, retrieved or written.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from snakemake.exceptions import MissingRuleException, WorkflowError

from workflow_scripts.common.mock import ROOT, planned_jobs
from workflow_scripts.common.pages import size
from workflow_scripts.common.study import Study
from workflow_scripts.common.targets import by_claim, load_claims, load_targets
from workflow_scripts.plan.bill import cohort_size, downloads, hours, training_tflop

RATE = 312.0  # TFLOP/s in half precision by the data sheet of a common data-centre GPU
SHARE = 0.3  # of that rate, an assumption: measure yours from `tflops` in a training's log


def jobs_per_rule(jobs):
    """Return a line per rule with the number of its jobs, in the order of the rules' files."""
    counts = Counter(job.rule.name for job in jobs)
    order = [rule.name for rule in jobs[0].rule.workflow.rules] if jobs else []
    return [f"{counts[name]:4d}  {name}" for name in order if name in counts]


def targets_without(absent):
    """Return {cohort: targets with statements about it} for cohorts that are `absent`."""
    claims = load_claims()
    owner = by_claim(load_targets(), claims)
    about = {cohort: [] for cohort in absent}
    for claim in claims:
        for cohort in absent:
            if claim["dataset"] == cohort and owner[claim["id"]] not in about[cohort]:
                about[cohort].append(owner[claim["id"]])
    return about


def section(title, lines):
    """Return a block of the answer, or nothing without lines."""
    return [title, *(f"  {line}" for line in lines), ""] if lines else []


def not_run(study):
    """Return lines on cohorts, instances and targets that the study leaves out, with reasons."""
    without = targets_without(study.absent)
    lines = []
    for cohort, reason in study.absent.items():
        targets = ", ".join(without[cohort])
        lines.append(f"{cohort}: {reason}" + (f" (needed by {targets})" if targets else ""))
    lines += [f"{name}: not trained, as {why}" for name, why in study.left_out.items()]
    return lines


def download_lines(study, cohorts):
    """Return a line per cohort with something to fetch, and their sum."""
    lines, total, open_ends = [], 0, 0
    for cohort in (study.cohorts[name] for name in cohorts):
        known, unknown = downloads(cohort, Path(study.config["archives"]) / cohort.id)
        total, open_ends = total + known, open_ends + len(unknown)
        if known or unknown:
            said = f"; {cohort.size}" if cohort.size and unknown else ""
            first = f"{size(known)} and " if known else ""
            files = f"{len(unknown)} files whose size the record will say" if unknown else "no more"
            lines.append(f"{cohort.id}: {first}{files}{said}")
    if lines:
        lines.append(f"together at least {size(total)}; {open_ends} files of unknown size")
    return lines


def disk_lines(sizes):
    """Return a line per cohort of `sizes` {cohort: Size}, and their sum."""
    lines = [
        f"{name}: {size(one.stored_bytes)} ({one.images:,.0f} images, {one.origin})"
        for name, one in sizes.items()
    ]
    total = sum(one.stored_bytes for one in sizes.values())
    return [*lines, f"together {size(total)} before compression, beside the downloads"]


def training_lines(work, rivals, device, rate, share):
    """Return a line per training of `work` {instance: TFLOP}; hours where a GPU is used.

    `rivals`: trainings whose work nothing here estimates.
    """
    without = [f"not estimated, of rivals: {', '.join(rivals)}"] if rivals else []
    if not work:
        return without
    total = sum(work.values())
    if device != "cuda":
        return [f"{total:,.3g} TFLOP in {len(work)} trainings", *without]
    lines = [f"{name}: {hours(tflop, rate, share):,.3g} GPU hours" for name, tflop in work.items()]
    return [
        *lines,
        f"together {hours(total, rate, share):,.3g} GPU hours for {total:,.3g} TFLOP, if a GPU "
        f"gives {share:.0%} of {rate:g} TFLOP/s (set --rate and --share)",
        *without,
    ]


def plan(configfiles, target, rate, share):
    """Return the answer as lines of text."""
    everything = planned_jobs(configfiles, target=target)
    pending = planned_jobs(configfiles, target=target, pending=True)
    study = Study(everything[0].rule.workflow.config)
    config = study.config

    rivals = study.rivals.trainings
    known = {"cohort": study.cohorts, "instance": study.instances, "training": rivals}

    def wanted(rule, wildcard):
        names = {getattr(j.wildcards, wildcard) for j in pending if j.rule.name == rule}
        return [name for name in known[wildcard] if name in names]

    folder = ROOT / "results" / config["study"] / "cohorts"
    sizes = {c.id: cohort_size(c, folder / c.id, config) for c in study.cohorts.values()}
    instances = {name: study.instances[name] for name in wanted("pretrain", "instance")}
    work = training_tflop(instances, sizes, config["model"], config["pretrain"])
    head = f"{target} of study {config['study']}: {len(pending)} of {len(everything)} jobs"
    lines = section(f"{head} would run", jobs_per_rule(pending) or ["nothing: all is there"])
    lines += section("Not run", not_run(study))
    lines += section("To download", download_lines(study, wanted("retrieve", "cohort")))
    images = {name: sizes[name] for name in wanted("ingest", "cohort")}
    lines += section("Disk for images, an estimate", disk_lines(images) if images else [])
    not_estimated = wanted("pretrain_rival", "training")
    said = training_lines(work, not_estimated, config["device"], rate, share)
    return lines + section("Training alone, an estimate", said)


def main(arguments=None):
    """Print the plan; a wrong setting is one sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="all")
    parser.add_argument("--configfile", nargs="+", default=[])
    parser.add_argument("--rate", type=float, default=RATE, help="TFLOP/s of a GPU")
    parser.add_argument("--share", type=float, default=SHARE, help="of that rate, as reached")
    parsed = parser.parse_args(arguments)
    try:
        lines = plan(parsed.configfile, parsed.target, parsed.rate, parsed.share)
    except MissingRuleException:
        sys.exit(f"{parsed.target}: no rule makes it; expected all, a figure target or a file")
    except FileNotFoundError as error:
        sys.exit(f"{error.filename}: no such file; check --configfile")
    except WorkflowError as error:
        sys.exit(str(error))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
