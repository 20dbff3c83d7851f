"""Write numbers.json for every target that no rule draws yet: "not run: not built yet"."""

from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import not_run, save_target
from workflow_scripts.common.job import log, run
from workflow_scripts.common.targets import NOT_BUILT, load_targets


def write_not_built(targets, paths, simulated):
    """Write one numbers.json per path `.../<target>/numbers.json`, without a picture."""
    known = {target["id"]: target for target in targets}
    for path in map(Path, paths):
        target = known.get(path.parent.name)
        if target is None:
            raise InputError(
                f"{path}: {path.parent.name!r} is no target; expected one of figures.yaml"
            )
        numbers = {claim: not_run(NOT_BUILT) for claim in target["claims"]}
        save_target(
            path.parent,
            target["id"],
            None,
            None,
            numbers,
            target["caption"],
            simulated,
            status=f"not run: {NOT_BUILT}",
        )


def main(snakemake):
    """Unpack the job."""
    targets = load_targets(snakemake.input.figures)
    write_not_built(targets, snakemake.output.numbers, snakemake.params.simulated)
    log.info("%d targets: %s", len(snakemake.output.numbers), NOT_BUILT)


if __name__ == "__main__":
    run(main, globals())
