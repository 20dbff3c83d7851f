"""The one place that decides how our number stands beside the paper's."""

from workflow_scripts.common.errors import InputError

VERDICTS = ("reproduced", "close", "differs", "not run", "simulated data")
EXACT = ("count", "rank")  # a count is right or wrong; an interval does not excuse it
CLOSE = 0.10  # relative


def verdict(claim, number, simulated):
    """Return the verdict on a claim and the sentence that explains it.

    `claim`: a row of resources/claims.csv, all texts; `number`: its entry of numbers.json or None;
    `simulated`: whether it was computed from simulated cohorts. The verdict is one of `VERDICTS`,
    "not run" followed by its reason.

    - reproduced: the printed value lies in our 95 % interval, or our value rounds to it, or the
      printed relation holds for our value; counts and ranks must be equal
    - close: within 10 % of the printed value
    - differs, however small a two-sided p may be, where the effect points the other way
    - differs: anything else that was computed
    """
    if number is None:
        return "not run: no number", "The figure gives no number for this statement."
    if number["status"] != "done":
        return number["status"], _also(number, "")
    if simulated:
        return "simulated data", _also(number, "Computed from simulated cohorts; not comparable.")
    name, sentence = _compare(claim, number)
    return name, _also(number, sentence)


def kind(text):
    """Return the verdict without the reason that follows "not run"."""
    return "not run" if text.startswith("not run") else text


def _compare(claim, number):
    relation, text, ours = claim["relation"], claim["value"], number["value"]
    if relation == "holds":
        if ours not in (0, 1):
            raise InputError(
                f"claim {claim['id']}: expected 1 (holds) or 0 (does not), got {ours}; "
                "let the figure's script decide"
            )
        return ("reproduced", "The ordering holds.") if ours else ("differs", "It does not hold.")
    if number["contrary"]:
        return "differs", "The effect points the other way."
    paper = float(text)
    if relation == "eq":
        if _equals(claim, number, paper):
            return "reproduced", ""
    elif _holds(relation, ours, paper, claim):
        return "reproduced", _straddles(relation, number, paper, claim)
    gap = abs(ours - paper) / abs(paper) if paper else float("inf")
    sentence = f"Off by {100 * gap:.0f} % of the printed value." if paper else ""
    return ("close" if gap <= CLOSE else "differs"), sentence


def _equals(claim, number, paper):
    ours = number["value"]
    if claim["metric"] in EXACT:
        return ours == paper
    if number["low"] is not None and number["low"] <= paper <= number["high"]:
        return True
    decimals = len(claim["value"].partition(".")[2])
    return round(ours, decimals) == round(paper, decimals)


def _holds(relation, ours, paper, claim):
    holds = {"gt": ours > paper, "lt": ours < paper, "le": ours <= paper}
    if relation not in holds:
        raise InputError(
            f"claim {claim['id']}: unknown relation {relation!r}; expected eq, gt, lt, le or holds"
        )
    return holds[relation]


def _straddles(relation, number, paper, claim):
    if number["low"] is None:
        return ""
    ends = [_holds(relation, number[end], paper, claim) for end in ("low", "high")]
    return "" if all(ends) else "Our interval reaches beyond the printed bound."


def _also(number, sentence):
    reason = number["reason"]
    if not reason:
        return sentence
    reason = reason[0].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
    return f"{sentence} {reason}".strip()
