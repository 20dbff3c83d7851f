"""Cells with a known type, and the Random Forest that carries it over ("Label transfer")."""

from sklearn.ensemble import RandomForestClassifier


def labelled_cells(index, cells, tissues, label):
    """Return the index rows of cells with a label, with `truth`, `patient_id` and `split`.

    They are in the order of their tokens.
    """
    labels = cells[["tissue_id", "cell_id", label]].dropna().rename(columns={label: "truth"})
    where = tissues[["tissue_id", "patient_id", "split"]]
    rows = index[["tissue_id", "cell_id", "position"]].merge(labels).merge(where)
    return rows.sort_values("position", ignore_index=True)


def balanced(cells, seed):
    """Return as many cells of each type as the rarest has, drawn at random, in token order."""
    fewest = cells["truth"].value_counts().min()
    drawn = cells.groupby("truth").sample(n=fewest, random_state=seed)
    return drawn.sort_values("position", ignore_index=True)


def fit_forest(tokens, labels, trees, depth, seed, threads=1):
    """Return a Random Forest: Gini, bootstrap."""
    forest = RandomForestClassifier(
        trees, criterion="gini", max_depth=depth, bootstrap=True, random_state=seed, n_jobs=threads
    )
    return forest.fit(tokens, labels)
