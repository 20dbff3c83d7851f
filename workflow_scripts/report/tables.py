"""The report's tables on cohorts, trained models, inputs and decisions."""

import csv
import json
import math
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from markdown_it import MarkdownIt
from markupsafe import Markup

from workflow_scripts.common.cohort import not_ingested
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import read_yaml


def cohort_row(card, tissues, cells, exclusions, sub_images, channels, ingest):
    """Return what the report says of one cohort, a dict; every argument is a path.

    `card`: the cohort's YAML; the others are its published tables and ingest.json.
    """
    card = read_yaml(card)
    tissues, channels = pd.read_parquet(tissues), pd.read_parquet(channels)
    excluded = pd.read_csv(exclusions, dtype=str)
    protein = channels["uniprot_id"].notna()
    return {
        **{key: card.get(key, "") for key in ("id", "title", "citation", "licence", "access")},
        "simulated": bool(card.get("simulated")),
        "published": published_sizes(card.get("published", {})),
        "found": len(tissues) + len(excluded),
        "kept": len(tissues),
        "train": int((tissues["split"] == "train").sum()),
        "test": int((tissues["split"] == "test").sum()),
        "patients": int(tissues["patient_id"].nunique()),
        "cells": _rows(cells),
        "sub_images": _rows(sub_images),
        "channels": len(channels),
        "protein": int(protein.sum()),
        "no_protein": sorted(channels.loc[~protein, "channel_name"]),
        "unusable": sorted(channels.loc[protein & ~channels["qc_pass"], "channel_name"]),
        "excluded": grouped_reasons(excluded["reason"]),
        "warnings": _read_json(ingest).get("warnings", []),
    }


def published_sizes(published):
    """Return the sizes of a cohort file's `published` in words, empty where none is known."""
    sizes = {key: published[key] for key in ("images", "patients", "cells") if key in published}
    return ", ".join(f"{count:,} {what}" for what, count in sizes.items())


def absent_rows(present, absent):
    """Return what the report says of cohorts that are not in this run, with the reason.

    `present`: ids of those that are; `absent`: id -> why its data are not here.
    """
    facts = ("id", "title", "citation", "licence", "access")
    rows = [
        {
            **{key: getattr(cohort, key) for key in facts},
            "published": published_sizes(cohort.published),
            "reason": reason,
        }
        for cohort, reason in not_ingested(present, absent)
    ]
    named = {row["id"] for row in rows}
    blank = dict.fromkeys((*facts, "published"), "")
    own = [blank | {"id": i, "reason": reason} for i, reason in absent.items() if i not in named]
    return rows + own


def grouped_reasons(reasons):
    """Return [(count, first reason, all alike)]; reasons that differ in numbers alone are one."""
    groups = {}
    for reason in reasons:
        groups.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), []).append(reason)
    rows = [(len(group), group[0], len(set(group)) == 1) for group in groups.values()]
    return sorted(rows, key=lambda row: -row[0])


def model_row(path):
    """Return what the report says of one model, from its metrics.json.

    `given`: file and checksum of weights that were trained elsewhere, None for a training;
    `changes`: one clause per setting that was not the same all the way.
    """
    metrics = _read_json(path)
    keys = ("instance", "cohorts", "steps", "parameters", "seconds", "device", "seed")
    row = {key: metrics.get(key) for key in (*keys, "epochs", "sub_images")}
    origin = metrics.get("provenance", {})
    row |= {"commit": origin.get("commit", "not recorded"), "dirty": origin.get("dirty")}
    row["weights"] = metrics.get("weights_sha256") or ""
    given = metrics.get("given")
    row["given"] = given and {"file": Path(given["path"]).name, "sha256": given["sha256"]}
    losses = [loss for loss in metrics.get("losses", []) if math.isfinite(loss)]
    row["first"], row["last"] = metrics.get("first_loss"), metrics.get("last_loss")
    row["curve"] = sparkline(losses)
    row["changes"] = [
        f"{c['key'].replace('_', ' ')}: {c['before']} until step {c['step']}, then {c['after']}"
        for c in metrics.get("changed_on_the_way", [])
    ]
    return row


def sparkline(values, width=120, height=28, points=60):
    """Return the `points` attribute of an SVG polyline through the means of up to 60 bins."""
    if len(values) < 2:
        return ""
    bins = min(points, len(values))
    edges = [len(values) * i // bins for i in range(bins + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    step = (width - 4) / (bins - 1)
    return " ".join(
        f"{2 + i * step:.1f},{height - 2 - (mean - low) / span * (height - 4):.1f}"
        for i, mean in enumerate(means)
    )


def input_rows(paths):
    """Return one dict per retrieved file from `<cohort or model>/retrieved.json` files."""
    rows = []
    for path in map(Path, paths):
        record = _read_json(path)
        for file in record.get("files", [record]):
            url = file.get("url") or ""
            rows.append(
                {
                    "of": path.parent.name,
                    "name": file["name"],
                    "size": file["size"],
                    "sha256": file["sha256"],
                    "checked": checked_against(file["checked_against"]),
                    "source": url if url.startswith("http") else "a file on this machine",
                }
            )
    return rows


def checked_against(origins):
    """Return {"size": "record", "md5": "cohort file"} in words."""
    groups = {}
    for key, origin in origins.items():
        groups.setdefault(origin, []).append(key)
    written = [f"{' and '.join(keys)} of the {origin}" for origin, keys in groups.items()]
    return "; ".join(written) or "nothing known beforehand"


def decision_rows(path, config):
    """Return the decisions with the values of their settings in `config`."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["values"] = []
        if row["setting"] != "fixed":
            keys = row["setting"].split("; ")
            row["values"] = [(key, lookup(config, key, path)) for key in keys]
    return rows


def deviations(path):
    """Return docs/deviations.md as markup, without its title; its links lead out of the report."""
    text = Path(path).read_text(encoding="utf-8").partition("\n## ")
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text[1] + text[2])
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    html = markdown.render(text).replace("<h2>", "<h4>").replace("</h2>", "</h4>")
    # On a phone a table scrolls by itself.
    html = html.replace("<table>", '<div class="room wide-room" tabindex="0"><table class="plain">')
    return Markup(html.replace("</table>", "</table></div>"))


def lookup(config, key, path):
    """Return the value of a dotted key; an InputError names the decision table if it is absent."""
    value = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{path}: setting {key!r} is no key of the settings; correct it")
        value = value[part]
    return value


def reason_counts(verdicts):
    """Return [(reason, count)] of the statements that were not run, most frequent first.

    What to do about it, after a semicolon, stands with each statement.
    """
    whole = [verdict.partition(":")[2] for verdict in verdicts if verdict.startswith("not run")]
    reasons = [reason.partition(";")[0].strip() for reason in whole]
    return Counter(reasons).most_common()


def _rows(path):
    return pq.ParquetFile(path).metadata.num_rows


def _read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))
