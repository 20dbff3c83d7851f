"""The one verdict function, on planted numbers for every relation."""

import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.targets import load_claims
from workflow_scripts.common.verdict import VERDICTS, kind, verdict


def claim(relation, value, metric="auroc"):
    return {"id": "C999", "relation": relation, "value": value, "metric": metric}


# relation, printed value, metric, our number, expected verdict
PLANTED = [
    # a value: the interval covers it, ours rounds to it, within 10 %, beyond
    ("eq", "0.723", "pearson_r", number(0.70, 0.66, 0.74), "reproduced"),
    ("eq", "0.723", "pearson_r", number(0.70, 0.68, 0.723), "reproduced"),
    ("eq", "0.723", "pearson_r", number(0.7234), "reproduced"),
    ("eq", "0.490", "macro_f1", number(0.4896), "reproduced"),
    ("eq", "0.490", "macro_f1", number(0.4893), "close"),
    ("eq", "0.723", "pearson_r", number(0.70, 0.69, 0.71), "close"),
    ("eq", "0.723", "pearson_r", number(0.660, 0.65, 0.67), "close"),
    ("eq", "0.723", "pearson_r", number(0.640, 0.63, 0.65), "differs"),
    ("eq", "95", "percent", number(94.6), "reproduced"),
    ("eq", "95", "percent", number(94.4), "close"),
    # negative values: the sign matters
    ("eq", "-76.205", "relative_change_percent", number(-75.0, -80, -70), "reproduced"),
    ("eq", "-76.205", "relative_change_percent", number(-70.0), "close"),
    ("eq", "-76.205", "relative_change_percent", number(76.205), "differs"),
    ("eq", "-0.002", "delta_r", number(0.002, 0.001, 0.003), "differs"),
    # a count is exact, whatever its interval; so is a rank
    ("eq", "541", "count", number(541), "reproduced"),
    ("eq", "541", "count", number(540, 530, 550), "close"),
    ("eq", "541", "count", number(480, 400, 600), "differs"),
    ("eq", "2", "rank", number(2), "reproduced"),
    ("eq", "2", "rank", number(1, 1, 3), "differs"),
    # bounds
    ("gt", "259000", "count", number(259001), "reproduced"),
    ("gt", "259000", "count", number(259000), "close"),
    ("gt", "259000", "count", number(100000), "differs"),
    ("lt", "0.001", "p_value", number(0.0009), "reproduced"),
    ("lt", "0.001", "p_value", number(0.001), "close"),
    ("lt", "0.001", "p_value", number(0.2), "differs"),
    ("lt", "0.001", "p_value", number(1e-9, contrary=True), "differs"),
    ("gt", "0.89", "p_value", number(0.95), "reproduced"),
    ("gt", "0.89", "p_value", number(0.10), "differs"),
    ("lt", "1.6", "percent", number(1.59), "reproduced"),
    ("le", "0.03", "delta_macro_f1", number(0.03), "reproduced"),
    ("le", "0.03", "delta_macro_f1", number(0.032), "close"),
    ("le", "0.03", "delta_macro_f1", number(0.05), "differs"),
    # an ordering holds or does not; it is never close
    ("holds", "1", "ordering", number(1), "reproduced"),
    ("holds", "1", "ordering", number(True), "reproduced"),
    ("holds", "1", "ordering", number(0), "differs"),
]


@pytest.mark.parametrize(("relation", "value", "metric", "ours", "expected"), PLANTED)
def test_planted(relation, value, metric, ours, expected):
    assert verdict(claim(relation, value, metric), ours, simulated=False)[0] == expected


@pytest.mark.parametrize(("relation", "value", "metric", "ours", "expected"), PLANTED)
def test_simulated_is_never_compared(relation, value, metric, ours, expected):
    name, reason = verdict(claim(relation, value, metric), ours, simulated=True)
    assert name == "simulated data"
    assert "not comparable" in reason


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("relation", ["eq", "gt", "lt", "le", "holds"])
def test_missing(relation, simulated):
    name, reason = verdict(claim(relation, "1"), None, simulated)
    assert (name, kind(name)) == ("not run: no number", "not run")
    assert "no number" in reason
    name, _ = verdict(claim(relation, "1"), not_run("data not supplied"), simulated)
    assert (name, kind(name)) == ("not run: data not supplied", "not run")


def test_every_statement_can_be_judged():
    """The printed value itself is reproduced, and a far one is not, for all 154 rows."""
    rows = load_claims()
    assert len(rows) == 154
    for row in rows:
        paper = float(row["value"])
        bound = {"gt": paper * 1.01, "lt": paper * 0.99}.get(row["relation"], paper)
        assert verdict(row, number(bound), False)[0] == "reproduced", row
        far = {"gt": paper / 2, "holds": 0}.get(row["relation"], abs(paper) * 2 + 1)
        assert verdict(row, number(far), False)[0] == "differs", row


def test_bound_within_the_interval_is_told():
    _, reason = verdict(claim("lt", "0.05", "p_value"), number(0.04, 0.01, 0.09), False)
    assert reason == "Our interval reaches beyond the printed bound."


def test_reason_of_the_number_is_kept():
    ours = number(0.5, reason="over 2 cohorts")
    assert verdict(claim("eq", "0.723"), ours, False)[1] == (
        "Off by 31 % of the printed value. Over 2 cohorts."
    )


def test_bad_input():
    with pytest.raises(InputError, match=r"C999: expected 1 \(holds\) or 0 .*, got 0.5"):
        verdict(claim("holds", "1"), number(0.5), False)
    with pytest.raises(InputError, match="C999: unknown relation 'ge'; expected eq, gt, lt"):
        verdict(claim("ge", "1"), number(0.5), False)


def test_verdicts_are_the_kinds():
    assert [kind(name) for name in VERDICTS] == list(VERDICTS)
    assert kind("not run: data not supplied") == "not run"
