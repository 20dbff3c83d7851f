"""The paper's statements on cost and performance by number of markers (C010 to C012)."""

from itertools import pairwise

import numpy as np

from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.scores import difference, paired


def gain(counts, first, second, label, repeats, seed):
    """Return the entry of a gain in macro-F1 of `first` over `second`, on the same test cells.

    `counts`: (model, label) -> counts as linear probes left them; a model may be None.
    """
    for model in (first, second):
        if (model, label) not in counts:
            return not_run(f"{model or 'CA-MAE'} has no probe of {label} with these markers")
    both = paired(counts[first, label], counts[second, label])
    if both is None:
        return not_run(f"{first} and {second} were not scored on the same cells of {label}")
    value, low, high, _ = difference(*both, repeats, seed)
    return number(value, low, high, n=len(both[0].patients), seeds=[seed])


def statements(table, counts, panels, labels, repeats, seed):
    """Return the entries of C010 to C012 and of the gains that they rest on.

    `table`: rows of costs; `panels`: the number of markers of each, the fewest first, with the
    instance of `virtues` and the model of `camae`; `labels`: coarse, then fine.
    """
    chance, last = (repeats, seed), panels[-1]
    numbers = {"C010": ratio(table, last["markers"])}
    rises = {label: [] for label in labels}
    for label in labels:
        for fewer, more in pairwise(panels):
            entry = gain(counts, more["virtues"], fewer["virtues"], label, *chance)
            numbers[f"gain_{label}_{fewer['markers']}_to_{more['markers']}"] = entry
            rises[label].append(entry)
    leads = [gain(counts, last["virtues"], last["camae"], label, *chance) for label in labels]
    numbers |= {f"lead_{label}": lead for label, lead in zip(labels, leads, strict=True)}
    steps = [entry for row in rises.values() for entry in row]
    if len(panels) < 3:
        numbers["C011"] = not_run(f"needs three panels, this study has {len(panels)}")
    else:
        values = [[entry["value"] or 0 for entry in row] for row in rises.values()]
        most_first = np.argmax(values, axis=1) == 0
        numbers["C011"] = judged(steps, (np.array(values) > 0).all() and most_first.all(), seed)
    cost = table[table["metric"] == "cost"].set_index(["model", "markers"])["value"]
    cheaper = cost["virtues", last["markers"]] < cost["camae", last["markers"]]
    better = all((lead["value"] or 0) > 0 for lead in leads)
    numbers["C012"] = judged(leads, cheaper and better, seed)
    return numbers


def ratio(table, markers):
    """Return the entry of how many times the parameters of VirTues CA-MAE has (C010)."""
    at = table.set_index(["metric", "model", "markers"])["value"]
    all_of_them, encoders = (
        at[kind, "camae", markers] / at[kind, "virtues", markers]
        for kind in ("parameters", "encoder_parameters")
    )
    careful = (encoders, "of the encoders alone, which is all that inference needs")
    return number(all_of_them, careful=careful, reason=f"at {markers} markers")


def judged(gains, holds, seed):
    """Return the entry of a statement that rests on gains, with the least sure of them beside."""
    undone = [entry["status"] for entry in gains if entry["value"] is None]
    if undone:
        return not_run(undone[0].removeprefix("not run: "))
    lows = [entry["low"] for entry in gains]
    label = "lowest end of the 95 % intervals over patients of the gains; above 0 when sure"
    careful = None if None in lows else (min(lows), label)
    return number(bool(holds), n=gains[0]["n"], seeds=[seed], careful=careful)
