"""From groups of patients to high and low risk, and what chance alone would give (T1)."""

import numpy as np
import pandas as pd

from workflow_scripts.common.survival import (
    group_counts,
    logrank,
    logrank_of,
    restricted_means,
    risk_sets,
)

RISKS = ("high risk", "low risk")


class Outcomes:
    """The follow-up of patients, prepared for many groupings of them."""

    def __init__(self, follow):
        """`follow`: table [time, event] as common/survival.py makes it."""
        self.time, self.event = follow["time"].to_numpy(), follow["event"].to_numpy()
        self.times, self.place = risk_sets(follow)

    def split(self, codes, groups, high):
        """Return the order of groups, highest risk first, and the merged log-rank statistic.

        Groups are ordered by restricted mean survival time up to the last time at which all their
        curves are known (D32); the first `high` are the high-risk patients.
        """
        risk, events = group_counts(self.place, self.event, codes, groups, self.times)
        horizon = min(self._known(codes == group) for group in range(groups))
        order = np.argsort(restricted_means(risk, events, self.times, horizon), kind="stable")
        sides = [
            np.stack([c[:, order[:high]].sum(axis=1), c[:, order[high:]].sum(axis=1)], axis=1)
            for c in (risk, events)
        ]
        excess, covariance = logrank_of(*sides)
        variance = covariance[0, 0]
        return order, excess[0] ** 2 / variance if variance > 0 else 0.0

    def _known(self, chosen):
        """Return until when the curve of the `chosen` is known: for ever once all have died."""
        last = self.time[chosen].max()
        ended = self.event[chosen & (self.time == last)].all()
        return self.time.max() if ended else last


def stratify(follow, groups, high):
    """Return each patient's rank of risk (0: the highest) and risk (one of `RISKS`), a table.

    `groups`: group 0, 1, ... of each patient of `follow`; `high`: how many groups are merged.
    """
    codes, names = pd.factorize(groups.loc[follow.index], sort=True)
    order, _ = Outcomes(follow).split(codes, len(names), high)
    ranks = np.argsort(order)[codes]
    return pd.DataFrame({"rank": ranks, "risk": np.where(ranks < high, *RISKS)}, index=follow.index)


def tests(follow, ranks, high, permutations, seed):
    """Return the printed test, and beside it those that the merging does not flatter (T1).

    merged_p: log-rank of high against low risk, as printed. groups_p: log-rank between the unmerged
    groups. permutation_p: how often outcomes that belong to nobody, ordered and merged anew, are
    separated as well; None without `permutations`.
    """
    codes = np.asarray(ranks)
    outcomes, rng = Outcomes(follow), np.random.default_rng(seed)
    count = codes.max() + 1
    _, observed = outcomes.split(codes, count, high)
    beyond = sum(
        outcomes.split(rng.permutation(codes), count, high)[1] >= observed * (1 - 1e-9)
        for _ in range(permutations)
    )
    return {
        "merged_p": logrank(follow, codes < high)["p"],
        "groups_p": logrank(follow, codes)["p"],
        "permutation_p": (1 + beyond) / (1 + permutations) if permutations else None,
    }


def survival_only(follow, size=None):
    """Return a risk (one of `RISKS`) from survival alone, and the cut in the unit of time (D25).

    High risk: who had the event or was censored before the cut. The cut makes `size` patients
    high risk where the events leave room for that; without `size` it is the median censored time.
    """
    censored = np.sort(follow.loc[~follow["event"], "time"])
    if not len(censored):
        return pd.Series(RISKS[0], index=follow.index), np.nan
    if size is None:
        cut = float(np.median(censored))
    else:
        early = min(max(size - int(follow["event"].sum()), 0), len(censored) - 1)
        cut = float(censored[early])
    high = follow["event"] | (follow["time"] < cut)
    return pd.Series(np.where(high, *RISKS), index=follow.index), cut
