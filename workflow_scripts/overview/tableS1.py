"""Origin and size of every cohort as ingested (Suppl. Table 1)."""

from pathlib import Path

from workflow_scripts.common.figures import save_target
from workflow_scripts.common.job import run
from workflow_scripts.common.validation import read_yaml
from workflow_scripts.overview.sizes import read_sizes

ORIGIN = ("title", "citation", "licence", "access")


def main(snakemake):
    """Write the table; it has no picture."""
    params = snakemake.params
    sizes = read_sizes(params.cohort_folders)
    cards = [read_yaml(path) for path in snakemake.input.cards]
    for key in ORIGIN:
        sizes[key] = [card.get(key, "") for card in cards]
    folder = Path(snakemake.output.numbers).parent
    save_target(folder, "tableS1", None, sizes, {}, params.target["caption"], params.simulated)


if __name__ == "__main__":
    run(main, globals())
