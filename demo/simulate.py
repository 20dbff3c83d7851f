"""Write the raw archives of the embedded cohorts and the API answers that list them."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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


def simulate(cohort_id, folder, record, effects, settings):
    """Write one cohort's archive; return a line of text about it."""
    cohort = write_archive(cohort_id, effects, settings, folder, record)
    cells = sum(len(tissue.types) for tissue in cohort.tissues)
    size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return (
        f"{cohort_id}: {len(cohort.patients)} patients, {len(cohort.tissues)} tissues, "
        f"{cells} cells, archive of {size / 1e6:.1f} MB"
    )


def main(snakemake):
    """Simulate all cohorts, as many at a time as the job has cores."""
    output, params = snakemake.output, snakemake.params
    one = partial(
        simulate, effects=read_effects(snakemake.input.effects), settings=params.simulation
    )
    with ProcessPoolExecutor(snakemake.threads) as pool:
        for line in pool.map(one, params.cohorts, output.files, output.records):
            log.info(line)


if __name__ == "__main__":
    run(main, globals())
