"""Write numbers.json for every target that this study does not draw, with the reason."""

from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import not_run, save_target
from workflow_scripts.common.job import log, run
from workflow_scripts.common.targets import load_targets


def write_not_run(targets, paths, reasons, simulated):
    """Write one numbers.json per path `.../<target>/numbers.json`, without a picture.

    `reasons`: target id -> why it is not run.
    """
    known = {target["id"]: target for target in targets}
    for path in map(Path, paths):
        target = known.get(path.parent.name)
        if target is None:
            raise InputError(
                f"{path}: {path.parent.name!r} is no target; expected one of figures.yaml"
            )
        reason = reasons[target["id"]]
        save_target(
            path.parent,
            target["id"],
            None,
            None,
            {claim: not_run(reason) for claim in target["claims"]},
            target["caption"],
            simulated,
            status=f"not run: {reason}",
        )


def main(snakemake):
    """Unpack the job."""
    targets, params = load_targets(snakemake.input.figures), snakemake.params
    write_not_run(targets, snakemake.output.numbers, params.reasons, params.simulated)
    for target, reason in params.reasons.items():
        log.info("%s: %s", target, reason)


if __name__ == "__main__":
    run(main, globals())
