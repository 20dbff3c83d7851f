"""What ran and what it cost, by rule and by stage, from Snakemake's benchmark files."""

import re
from pathlib import Path

import pandas as pd
from markupsafe import Markup

# Files of rules/ in the words of a reader.
STAGES = {
    "cohorts": "Cohorts",
    "markers": "Marker embeddings",
    "overview": "Overview",
    "pretrain": "Pretraining",
    "rivals": "Rivals",
    "embed": "Embedding",
    "reconstruction": "Reconstruction",
    "cells": "Cell types",
    "transfer": "Label transfer",
    "patients": "Risk groups",
    "retrieval": "Retrieval",
    "tissue_tasks": "Classes of tissues",
    "biomarkers": "Biomarkers",
    "response": "Treatment response",
    "attention": "Attention",
    "scaling": "Scaling",
    "own": "Own cohort",
    "own_page": "Page of an own cohort",
    "commands": "Commands",
    "report": "Report",
}


def read_benchmarks(paths):
    """Return {path: seconds and memory of its job}, and the paths of damaged files."""
    tables, damaged = {}, []
    for path in map(Path, paths):
        try:
            table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            tables[path] = table[["s", "max_rss"]].astype(float)
        except (ValueError, KeyError):  # empty, no numbers, or a column is lacking
            damaged.append(path)
    return tables, damaged


def cost_rows(tables, gpus):
    """Return one dict per rule from `tables`, {.../benchmarks/<rule>/....tsv: its contents}.

    Seconds are summed over jobs; memory is the largest resident set of one job, in MB, and None
    where every job ended before it was sampled. `gpus`: {rule: GPUs that its job asks for}; GPU
    hours are those that were held, busy or not.
    """
    rules = {}
    for path, table in tables.items():
        parts = path.with_suffix("").parts
        below = parts[len(parts) - parts[::-1].index("benchmarks") :]
        rule, *job = below[1:] if below[0] == "figures" else below
        rules.setdefault(rule, []).append(("/".join(job) or rule, table))
    rows = []
    for rule, jobs in rules.items():
        seconds = {job: float(table["s"].sum()) for job, table in jobs}
        memory = pd.concat([table["max_rss"] for _, table in jobs]).dropna()
        longest = max(seconds, key=seconds.get)
        rows.append(
            {
                "rule": rule,
                "jobs": len(jobs),
                "seconds": sum(seconds.values()),
                "longest": longest,
                "longest_seconds": seconds[longest],
                "max_rss": float(memory.max()) if len(memory) else None,
                "gpu_hours": sum(seconds.values()) * gpus.get(rule, 0) / 3600,
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])


def stage_rows(stages, costs):
    """Return one dict per stage: its words, jobs and seconds, rules that ran and that did not.

    `stages`: {file of rules/: its rules}; `costs`: rows of `cost_rows`.
    """
    spent = {row["rule"]: row for row in costs}
    rows = []
    for stage, rules in stages.items():
        ran = [rule for rule in rules if rule in spent]
        rows.append(
            {
                "stage": STAGES.get(stage, stage.capitalize()),
                "ran": ran,
                "not_run": [rule for rule in rules if rule not in spent],
                "jobs": sum(spent[rule]["jobs"] for rule in ran),
                "seconds": sum(spent[rule]["seconds"] for rule in ran),
            }
        )
    return rows


def rule_graph(svg, ran):
    """Return Graphviz's picture of the rules, as markup, with the class `ran` on those in `ran`."""
    text = svg[svg.index("<svg") :]

    def mark(match):
        rule = re.search(r"<text[^>]*>([^<]*)</text>", match[0])
        kind = "node ran" if rule and rule[1] in ran else "node"
        return match[0].replace('class="node"', f'class="{kind}"')

    text = re.sub(r'<g id="node\d+" class="node">.*?</g>', mark, text, flags=re.S)
    return Markup(re.sub(r'\bid="(\w+)"', r'id="graph-\1"', text))
