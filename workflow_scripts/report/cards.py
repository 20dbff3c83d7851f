"""The report's cards: one per figure target, with the paper's statements beside our numbers."""

import shutil
from pathlib import Path

import pandas as pd
from PIL import Image

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.names import name
from workflow_scripts.common.verdict import VERDICTS, kind
from workflow_scripts.report import wording

RESULTS = ("reproduced", "close", "differs")
HEAVY = 1e6  # bytes of a picture; the folder should travel by mail and open on a phone


def read_statements(path, targets, simulated):
    """Return the rows of the finished claims.csv, ready to be shown.

    Raises InputError if a study of simulated cohorts claims to have compared anything.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    panels = {target["id"]: target for target in targets}
    rows = []
    for row in table.to_dict("records"):
        verdict = kind(row["verdict"])
        if verdict not in VERDICTS:
            raise InputError(f"{path}: {row['id']}: unknown verdict {row['verdict']!r}; rebuild it")
        if simulated and verdict in RESULTS:
            raise InputError(
                f"{path}: {row['id']}: verdict {verdict!r} in a simulated study; expected "
                "'simulated data'; rebuild the table"
            )
        rows.append(_statement(row, verdict, panels[row["target"]]))
    return rows


def _statement(row, verdict, target):
    value, low, high, careful = (_float(row[key]) for key in ("ours", "low", "high", "careful"))
    like = row["value"]
    return {
        **row,
        "kind": verdict,
        "because": row["verdict"].partition(":")[2].strip(),
        "panel": target["panel"],
        "group": target["figure"],
        "cohort": name(row["dataset"]),
        "model_name": name(row["model"]),
        "metric_name": wording.METRICS.get(row["metric"], row["metric"]),
        "paper": wording.paper(row),
        "ours_text": wording.ours(row, value),
        "interval": "" if row["relation"] == "holds" else wording.interval(low, high, like),
        "careful_text": "" if careful is None else wording.ours(row, careful),
        "n_text": wording.figure(_float(row["n"])),
        "weights_text": wording.short_hash(row["weights"]),
    }


def cards(targets, records, statements):
    """Return [(heading, cards)] in the paper's order.

    `records`: {target id: its numbers.json}; `statements`: rows of `read_statements`.
    """
    groups = {}
    for target in targets:
        mine = [row for row in statements if row["target"] == target["id"]]
        card = _card(target, records.get(target["id"]), mine)
        groups.setdefault(target["figure"], []).append(card)
    return list(groups.items())


def _card(target, record, statements):
    links = dict.fromkeys(("script", "csv", "json", "manifest"))
    card = links | target | {"statements": statements}
    card |= {"picture": False, "state": "schematic"}
    if target["kind"] == "schematic":
        card["why"] = "A drawing; nothing is computed."
        return card
    if record is None:
        raise InputError(f"{target['id']}: no numbers.json; run its rule")
    done = record["status"] == "done"
    card |= {"state": "done" if done else "not run", "caption": record["caption"]}
    card["why"] = record["status"].partition(":")[2].strip()
    if done and not record["picture"]:
        card["why"] = record["caption"]
    card["picture"] = record["picture"]
    entries = record["numbers"]
    ids = {row["id"] for row in statements}
    card["others"] = [_other(key, entries[key]) for key in entries if key not in ids]
    finished = [entry for entry in entries.values() if entry["status"] == "done"]
    card["seeds"] = sorted({seed for entry in finished for seed in entry["seeds"]})
    used = {entry["weights"] for entry in finished if entry["weights"]}
    card["weights"] = sorted(map(wording.short_hash, used))
    return card


def _other(key, entry):
    careful = entry["careful"]
    return {
        "key": key.replace("_", " ").replace("/", " · "),
        "value": wording.figure(entry["value"]),
        "interval": wording.interval(entry["low"], entry["high"]),
        "n": entry["n"],
        "careful": ""
        if careful is None
        else f"{wording.figure(careful['value'])} {careful['label']}",
        "note": entry["status"] if entry["status"] != "done" else entry["reason"] or "",
    }


def copy_files(card, source, folder):
    """Copy a card's picture, source data and numbers from `source` into `folder`/figures.

    Adds to the card the picture's size and relative links (`png`, `svg`, `csv`, `json`,
    `manifest`). Of pictures above `HEAVY` the PNG is made lighter and the SVG left behind.
    """
    name, source = card["id"], Path(source)
    copies = {"json": (source / "numbers.json", f"{name}.json")}
    if card["picture"]:
        copies |= {s: (source / f"{name}.{s}", f"{name}.{s}") for s in ("png", "svg")}
    if (source / "manifest.json").exists():
        copies["manifest"] = (source / "manifest.json", f"{name}.manifest.json")
    if (source / "source_data.csv").exists():
        copies["csv"] = (source / "source_data.csv", f"{name}.csv")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    card |= {"svg": None, "light": False}
    for link, (path, copy) in copies.items():
        if not path.exists():
            raise InputError(
                f"{path}: {name} has a picture, but this file is missing; rerun {name}"
            )
        heavy = path.stat().st_size > HEAVY
        if heavy and link == "svg":
            continue  # full of pixels, not of lines
        card[link] = f"figures/{copy}"
        if heavy and link == "png":
            _save_light(path, folder / card[link])
            card |= {"light": True, "original": path.parent.as_posix()}
        else:
            shutil.copyfile(path, folder / card[link])
    if card["picture"]:
        with Image.open(folder / card["png"]) as image:
            card["width"], card["height"] = image.size
        card["wide"] = card["width"] > 3.8 * 300  # more than a column at 300 dpi


def _save_light(source, copy):
    """Copy a large picture with 256 colours, a quarter of its bytes, at its full size."""
    with Image.open(source) as image:
        image.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(copy)


def _float(text):
    return float(text) if text else None
