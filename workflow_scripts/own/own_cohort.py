"""Say in one sentence why no own cohort can be run; otherwise the rule of this name has a page."""

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import run


def main(snakemake):
    """Fail with the reason."""
    raise InputError(snakemake.params.reason)


if __name__ == "__main__":
    run(main, globals())
