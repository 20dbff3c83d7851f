"""The table of faults: rows of actual runs, and docs/reliability.md made of them.

python -m tests.faults.record        # bring the tables of docs/reliability.md up to date
"""

import csv
import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
ROWS, DOCUMENT = ROOT / "benchmarks/faults.csv", ROOT / "docs/reliability.md"
COLUMNS = ["date", "seed", "number", "fault", "job", "share", "struck", "next_run", "survived"]
COLUMNS += ["bytes_finished", "bytes_lost", "seconds", "problem"]
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def append(path, row):
    """Append a row to the table at `path`; its `problem` becomes one line."""
    new = not Path(path).exists()
    row = dict.fromkeys(COLUMNS, "") | row
    row["problem"] = " ".join(str(row["problem"]).split())[:200]
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def random_faults(rows):
    """Return the Markdown table of faults that were drawn from a seed."""
    lines = ["| fault | tried | survived | next run undisturbed | next run struck | bytes finished"]
    lines[0] += " before | bytes lost | seeds | last |"
    lines += ["|---|--:|--:|--:|--:|--:|--:|---|---|"]
    drawn = rows[rows["number"] != ""].astype({"bytes_finished": int, "bytes_lost": int})
    groups = [*drawn.groupby("fault", sort=False), ("all", drawn)]
    for fault, group in groups:
        seeds = ", ".join(sorted(group["seed"].unique()))
        cells = [fault, len(group), (group["survived"] == "True").sum()]
        cells += [(group["next_run"] == each).sum() for each in ("undisturbed", "struck")]
        cells += [group["bytes_finished"].sum(), group["bytes_lost"].sum()]
        lines.append("| " + " | ".join(map(str, [*cells, seeds, group["date"].max()])) + " |")
    return "\n".join(lines) + "\n"


def single_faults(rows):
    """Return the Markdown table of the tests that each try one fault."""
    lines = ["| test | tried | survived | last |", "|---|--:|--:|---|"]
    for test, group in rows[rows["number"] == ""].groupby("fault", sort=True):
        survived = (group["survived"] == "True").sum()
        lines.append(f"| `{test}` | {len(group)} | {survived} | {group['date'].max()} |")
    return "\n".join(lines) + "\n"


TABLES = {"random": random_faults, "single": single_faults}


def filled(document, rows):
    """Return the text of the document with every table made from the rows."""
    return PLACE.sub(lambda match: match[1] + TABLES[match[2]](rows) + match[3], document)


def read_rows(path=ROWS):
    """Return the recorded rows, all of them text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), read_rows()))
