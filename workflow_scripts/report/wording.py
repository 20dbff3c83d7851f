"""How numbers and names are written on the report page."""

import math
import re

from workflow_scripts.common.names import name

METRICS = {
    "auroc": "AUROC",
    "c_index": "concordance index",
    "count": "count",
    "delta_macro_f1": "difference in macro-F1",
    "delta_r": "difference in r",
    "macro_f1": "macro-F1",
    "ordering": "ordering",
    "p_value": "p",
    "pearson_r": "Pearson r",
    "percent": "%",
    "rank": "rank",
    "ratio": "ratio",
    "relative_change_percent": "relative change, %",
    "relative_gain_percent": "relative gain, %",
    "relative_gain_percent_f1": "relative gain in F1, %",
    "risk_ratio": "risk ratio",
    "sd": "standard deviation",
    "years": "years",
}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NOTHING = "–"


def figure(value, like=None):
    """Return a number as text: with the decimals of the printed text `like`, or three digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    value = float(value)
    if value == int(value) and abs(value) < 1e15 and (like is None or "." not in like):
        return _minus(f"{int(value):,}")
    if like is not None:
        decimals = len(like.partition(".")[2])
        text = f"{value:,.{decimals}f}"
        if float(text.replace(",", "")) != 0:
            return _minus(text)
    if value != 0 and abs(value) < 1e-3:
        digits, exponent = f"{value:.1e}".split("e")
        return _minus(f"{digits} × 10") + str(int(exponent)).translate(SUPERSCRIPT)
    return _minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def interval(low, high, like=None):
    """Return a 95 % interval as text, or an empty one where there is none."""
    low, high = figure(low, like), figure(high, like)
    return "" if NOTHING in (low, high) else f"{low} to {high}"


def paper(claim):
    """Return the paper's figure of a claim as text, thousands apart."""
    signs = {"eq": "", "gt": "> ", "lt": "< ", "le": "≤ ", "holds": ""}
    if claim["relation"] == "holds":
        return "holds"
    return signs[claim["relation"]] + figure(float(claim["value"]), claim["value"])


def ours(claim, value):
    """Return our figure beside the paper's; an ordering holds or does not."""
    if claim["relation"] == "holds":
        return NOTHING if value is None else "holds" if value else "does not hold"
    if claim["metric"] == "p_value":
        return figure(value)
    return figure(value, claim["value"])


def duration(seconds):
    """Return seconds as s, min or h."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def plural(count, noun):
    """Return "1 image", "2 images"."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else many}"


def brief(text):
    """Return a name without "(simulated)", for lists under the banner that says so of all."""
    return name(text).replace(" (simulated)", "")


def short_hash(text):
    """Return `text` with every SHA-256 cut to twelve digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text or "")


def _minus(text):
    return text.replace("-", "\u2212")
