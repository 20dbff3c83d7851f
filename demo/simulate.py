"""Write the raw archive of one embedded cohort and the API answer that lists it."""

import shutil
from pathlib import Path

from demo.simulator.archives import write_json
from demo.simulator.cohort import layout_of, read_effects, section_of, simulate_cohort
from workflow_scripts.common.job import log, run


def write_archive(cohort_id, effects, settings, folder, record):
    """Simulate `cohort_id`, write its files into `folder` and the archive's answer to `record`.

    `folder` appears when it is complete, `record` after it. Returns the simulated cohort.
    """
    folder, record = Path(folder), Path(record)
    layout = layout_of(cohort_id)
    cohort = simulate_cohort(cohort_id, effects, settings)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    paths = layout.write(part, section_of(cohort_id, effects), cohort)
    answer = layout.record(paths, folder)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    write_json(record, answer)
    return cohort


def main(snakemake):
    """Simulate the cohort of the wildcard."""
    effects = read_effects(snakemake.input.effects)
    cohort = write_archive(
        snakemake.wildcards.cohort,
        effects,
        snakemake.params.simulation,
        snakemake.output.files,
        snakemake.output.record,
    )
    for index, tissue in enumerate(cohort.tissues):
        shape = " x ".join(map(str, tissue.image.shape))
        log.info("tissue %d: %s, %d cells", index, shape, len(tissue.types))
    size = sum(path.stat().st_size for path in Path(snakemake.output.files).iterdir())
    log.info("%d patients, archive of %.1f MB", len(cohort.patients), size / 1e6)


if __name__ == "__main__":
    run(main, globals())
