"""Write the latest row of every measurement into the tables of docs/performance.md.

    python -m benchmarks.tables

Between `<!-- table: NAME -->` and `<!-- end -->` goes what the benchmark NAME has in
benchmarks/results.csv; where it has nothing, the document says so.
"""

import re
from pathlib import Path

import pandas as pd

from benchmarks.common import RESULTS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/performance.md"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEADER = ["Measured", "Unit", "Value", "Baseline", "Ratio", "Target", "Hardware", "Date"]


def latest(rows):
    """Return the last row of each case and metric from the newest day of each GPU, or of the CPU.

    What a day of measuring no longer has, such as a case that was renamed, is left out; so is what
    ran beside other work on a device that was also measured undisturbed.
    """
    device = rows["hardware"].mask(rows["hardware"].str.contains("cores"), "CPU")
    newest = rows[rows["date"] == rows.groupby(device)["date"].transform("max")]
    disturbed = newest["hardware"].str.contains("busy")
    measured_quietly = (~disturbed).groupby(device).transform("any")
    kept = newest[~(disturbed & measured_quietly)]
    return kept.drop_duplicates(["case", "metric", "hardware"], keep="last")


def table(rows):
    """Return the Markdown table of the rows of one benchmark, or a sentence if there are none."""
    if rows.empty:
        return "Not measured yet.\n"
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|--:|--:|--:|---|---|---|"]
    for row in latest(rows).to_dict("records"):
        what = f"{row['metric']}: {row['case']}"
        rest = [row[name.lower()] for name in HEADER[1:]]
        lines.append("| " + " | ".join([what, *rest]) + " |")
    return "\n".join(lines) + "\n"


def filled(document, results):
    """Return the text of the document with every table made from the results."""
    return PLACE.sub(
        lambda match: match[1] + table(results[results["benchmark"] == match[2]]) + match[3],
        document,
    )


def main():
    results = pd.read_csv(RESULTS, dtype=str, keep_default_na=False)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), results))


if __name__ == "__main__":
    main()
