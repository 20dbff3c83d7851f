"""Download the ESM-2 checkpoint."""

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import run
from workflow_scripts.common.retrieved_weights import retrieve_checkpoint

SECTION = "markers.esm2"


def main(snakemake):
    """Download the checkpoint of `markers.esm2.weights`."""
    url, path = snakemake.params.url, snakemake.output.weights
    if snakemake.config["offline"]:
        raise InputError(
            f"offline: {path} is missing; expected the file that {url} holds; download it "
            f"elsewhere and put it there, or name its path in `{SECTION}.weights`"
        )
    # No parameter of the rule: a checksum that is named later must not bring the file anew;
    # embed_markers compares it, too.
    retrieve_checkpoint(url, path, snakemake.config["markers"]["esm2"]["sha256"], SECTION)


if __name__ == "__main__":
    run(main, globals())
