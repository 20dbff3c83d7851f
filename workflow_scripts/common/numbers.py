"""The numbers of a figure target: how an entry is made, written, checked and read."""

import json
import math
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check, read_yaml

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
SCHEMA = read_yaml(RESOURCES / "numbers.schema.yaml")


def number(
    value,
    low=None,
    high=None,
    n=None,
    seeds=(),
    weights=None,
    careful=None,
    status="done",
    reason=None,
    contrary=False,
):
    """Return one entry of numbers.json as plain Python values.

    `low`, `high`: 95 % interval; `n`: independent units; `careful`: (value, label) or None.
    A value that is None, NaN or infinite needs a `status` that says "not run: <reason>".
    `contrary`: for a two-sided p, that the effect points the other way than the statement says.
    """
    return {
        "value": _plain(value),
        "low": _plain(low),
        "high": _plain(high),
        "n": None if n is None else int(n),
        "seeds": [int(seed) for seed in seeds],
        "weights": weights,
        "careful": _careful(careful),
        "status": status,
        "reason": reason,
        "contrary": bool(contrary),
    }


def not_run(reason):
    """Return the entry of a number that this run does not have, with its reason."""
    return number(None, status=f"not run: {reason}")


def of_the_collection(numbers, missing):
    """Return entries about all of the paper's cohorts: not run where `missing` of them are absent.

    What was counted without them stands in the reason.
    """
    if not missing:
        return numbers
    words = f"{missing} of the paper's cohorts are not in this study; without them"
    return {
        key: entry if entry["value"] is None else not_run(f"{words} {entry['value']:,.0f}")
        for key, entry in numbers.items()
    }


def weights_of(metrics):
    """Return how numbers name the weights whose training wrote the file `metrics`.

    Of weights that were given, nobody here knows which patients they were trained on.
    """
    training = json.loads(Path(metrics).read_text(encoding="utf-8"))
    given = "; trained elsewhere, maybe on test patients of this split"
    named = f"{training['instance']}, sha256 {training['weights_sha256']}"
    return named + (given if training.get("given") else "")


def read_numbers(path):
    """Return the checked record of a target's numbers.json; an InputError says what is wrong."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected the numbers of a figure; run its rule first") from None
    except ValueError as error:
        raise InputError(
            f"{path}: expected JSON ({error}); remove the file and rerun its rule"
        ) from None
    check_numbers(record, path)
    return record


def check_numbers(record, path):
    """Raise an InputError that names file and key unless `record` is a valid numbers.json."""
    check(record, SCHEMA, path)
    if record["picture"] and record["status"] != "done":
        raise InputError(f"{path}: picture: a target that was not run has none; set it to false")
    for key, entry in record["numbers"].items():
        where = f"{path}: numbers.{key}"
        if (entry["status"] == "done") != (entry["value"] is not None):
            raise InputError(
                f"{where}: status {entry['status']!r} and value {entry['value']} disagree; "
                "expected a value exactly when it is done, else 'not run: <reason>'"
            )
        if (entry["low"] is None) != (entry["high"] is None):
            raise InputError(f"{where}: expected both ends of the interval or neither")
        if entry["low"] is not None and entry["low"] > entry["high"]:
            raise InputError(f"{where}: interval ends in wrong order; expected low <= high")


def _plain(value):
    if value is None:
        return None
    value = value.item() if hasattr(value, "item") else value  # NumPy scalars
    value = int(value) if isinstance(value, bool) else value
    return value if math.isfinite(value) else None


def _careful(careful):
    if careful is None:
        return None
    if not isinstance(careful, dict):
        careful = dict(zip(("value", "label"), careful, strict=True))
    return {"value": _plain(careful["value"]), "label": careful["label"]}
