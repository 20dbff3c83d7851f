"""Which labels of a cohort's cells its archive holds, and which were given anew (D24)."""

PUBLISHED = "_published"


def published(columns, label):
    """Return the column with the archive's own values of `label` among a cell table's `columns`."""
    return f"{label}{PUBLISHED}" if f"{label}{PUBLISHED}" in columns else label


def source(columns, label):
    """Return whether the values of `label` are the archive's own, as words for a caption."""
    return "as published" if published(columns, label) == label else "re-annotated"


def sources(tables):
    """Return a sentence on the labels of {(cohort, label): columns of the cohort's cell table}."""
    said = [f"{cohort} {source(columns, label)}" for (cohort, label), columns in tables.items()]
    return f"Labels: {', '.join(said)}." if said else ""
