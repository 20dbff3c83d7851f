# From a public archive to a harmonised cohort: retrieve, ingest, split, preprocess.


SIMULATED = [cohort.id for cohort in STUDY.cohorts.values() if cohort.simulated]

if SIMULATED:

    rule simulate:
        input:
            effects="demo/simulator/effects.yaml",
        output:
            files=[directory(f"{R}/simulated/{cohort}/files") for cohort in SIMULATED],
            records=[f"{R}/simulated/{cohort}/record.json" for cohort in SIMULATED],
        log:
            f"{LOGS}/simulate.log",
        benchmark:
            f"{BENCH}/simulate.tsv"
        threads: 2
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(10),
        params:
            code=code("demo/simulate.py"),
            cohorts=SIMULATED,
            simulation=config["simulation"],
        message:
            "Simulating the archives of the embedded cohorts"
        script:
            "../demo/simulate.py"


# The network is a machine's, not a job's: downloads stay on the submitting side.
localrules:
    retrieve,


rule retrieve:
    input:
        cohort=lambda w: ancient(STUDY.cohorts[w.cohort].path),
        local=lambda w: local_sources(STUDY.cohorts[w.cohort]),
    output:
        retrieved=f"{config['archives']}/{{cohort}}/retrieved.json",
    log:
        f"{LOGS}/retrieve/{{cohort}}.log",
    benchmark:
        f"{BENCH}/retrieve/{{cohort}}.tsv"
    resources:
        downloads=1,
        mem_mb=megabytes(1000),
        runtime=minutes(24 * 60),
    params:
        code=code("workflow_scripts/cohorts/retrieve.py"),
        source=lambda w: STUDY.cohorts[w.cohort].source,
    message:
        "Retrieving {wildcards.cohort}"
    script:
        "../workflow_scripts/cohorts/retrieve.py"


rule ingest:
    input:
        unpack(lambda w: cohort_sources(STUDY.cohorts[w.cohort])),
    output:
        images=directory(f"{R}/ingest/{{cohort}}/images"),
        cell_masks=directory(f"{R}/ingest/{{cohort}}/cell_masks"),
        tissue_masks=directory(f"{R}/ingest/{{cohort}}/tissue_masks"),
        channels=f"{R}/ingest/{{cohort}}/channels.parquet",
        tissues=f"{R}/ingest/{{cohort}}/tissues.parquet",
        cells=f"{R}/ingest/{{cohort}}/cells.parquet",
        neighbours=f"{R}/ingest/{{cohort}}/neighbours.parquet",
        channels_per_tissue=f"{R}/ingest/{{cohort}}/channels_per_tissue.parquet",
        exclusions=f"{R}/ingest/{{cohort}}/exclusions.csv",
        summary=f"{R}/ingest/{{cohort}}/ingest.json",
    log:
        f"{LOGS}/ingest/{{cohort}}.log",
    benchmark:
        f"{BENCH}/ingest/{{cohort}}.tsv"
    threads: config["cohort_threads"]
    resources:
        mem_mb=megabytes(2000 * config["cohort_threads"], PER_CELL),
        runtime=minutes(12 * 60),
    params:
        # The reader is imported by name, so it stands beside the script.
        code=lambda w: code(
            "workflow_scripts/cohorts/ingest.py",
            f"workflow_scripts/cohorts/readers/{STUDY.cohorts[w.cohort].reader}.py",
        ),
        cohort=lambda w: STUDY.cohorts[w.cohort].computed,
        mask_sigma=config["tissue"]["mask_sigma"],
        # A folder on disk has no record: its listing says when something in it has changed.
        listing=lambda w: listing(STUDY.cohorts[w.cohort].folder),
    message:
        "Ingesting {wildcards.cohort}"
    script:
        "../workflow_scripts/cohorts/ingest.py"


# Only where the list of verified images is there; see cells.reannotate of the cohort's file.
rule reannotate:
    input:
        cohort=lambda w: STUDY.cohorts[w.cohort].path,
        verified=lambda w: STUDY.cohorts[w.cohort].verified_images(config["archives"]),
        tissues=f"{R}/ingest/{{cohort}}/tissues.parquet",
        cells=f"{R}/ingest/{{cohort}}/cells.parquet",
        channels=f"{R}/ingest/{{cohort}}/channels.parquet",
        images=f"{R}/ingest/{{cohort}}/images",
        cell_masks=f"{R}/ingest/{{cohort}}/cell_masks",
    output:
        cells=f"{R}/ingest/{{cohort}}/reannotated.parquet",
        summary=f"{R}/ingest/{{cohort}}/reannotated.json",
    log:
        f"{LOGS}/reannotate/{{cohort}}.log",
    benchmark:
        f"{BENCH}/reannotate/{{cohort}}.tsv"
    threads: config["cohort_threads"]
    resources:
        mem_mb=megabytes(8000, PER_CELL),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/cohorts/reannotate.py"),
    message:
        "Labelling the cells of {wildcards.cohort} anew"
    script:
        "../workflow_scripts/cohorts/reannotate.py"


rule split:
    input:
        unpack(new_labels),
        tissues=f"{R}/ingest/{{cohort}}/tissues.parquet",
        cells=f"{R}/ingest/{{cohort}}/cells.parquet",
        images=f"{R}/ingest/{{cohort}}/images",
        tissue_masks=f"{R}/ingest/{{cohort}}/tissue_masks",
        cell_masks=f"{R}/ingest/{{cohort}}/cell_masks",
    output:
        tissues=f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet",
        cells=f"{R}/cohorts/{{cohort}}/metadata/cells.parquet",
        exclusions=f"{R}/cohorts/{{cohort}}/exclusions.csv",
        sub_images=f"{R}/cohorts/{{cohort}}/sub_images.parquet",
        split=f"{R}/splits/{{cohort}}.csv",
    log:
        f"{LOGS}/split/{{cohort}}.log",
    benchmark:
        f"{BENCH}/split/{{cohort}}.tsv"
    resources:
        mem_mb=megabytes(2000, PER_CELL),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/cohorts/split.py"),
        tissue=config["tissue"],
        sub_images=config["sub_images"],
        split=config["split"],
    message:
        "Filtering and splitting {wildcards.cohort}"
    script:
        "../workflow_scripts/cohorts/split.py"


STANDARDIZATION = (
    f"{R}/cohorts/{{cohort}}/imc/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image"
)


rule preprocess:
    input:
        tissues=f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet",
        channels=f"{R}/ingest/{{cohort}}/channels.parquet",
        channels_per_tissue=f"{R}/ingest/{{cohort}}/channels_per_tissue.parquet",
        images=f"{R}/ingest/{{cohort}}/images",
        tissue_masks=f"{R}/ingest/{{cohort}}/tissue_masks",
    output:
        channels=f"{R}/cohorts/{{cohort}}/imc/channels.parquet",
        channels_per_tissue=f"{R}/cohorts/{{cohort}}/imc/channels_per_tissue.parquet",
        quantiles=f"{STANDARDIZATION}/image_level_upper_quantiles.parquet",
        means=f"{STANDARDIZATION}/global_level_means.parquet",
        stds=f"{STANDARDIZATION}/global_level_stds.parquet",
        model_ready=directory(f"{R}/cohorts/{{cohort}}/model_ready"),
    log:
        f"{LOGS}/preprocess/{{cohort}}.log",
    benchmark:
        f"{BENCH}/preprocess/{{cohort}}.tsv"
    threads: config["cohort_threads"]
    resources:
        mem_mb=megabytes(2000 * config["cohort_threads"]),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/cohorts/preprocess.py"),
        preprocess=config["preprocess"],
    message:
        "Preprocessing {wildcards.cohort}"
    script:
        "../workflow_scripts/cohorts/preprocess.py"


# Without an output it answers each time it is asked.
rule check_panel:
    log:
        f"{LOGS}/check_panel.log",
    localrule: True
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    params:
        cohort=config["cohort"],
        trained=[str(STUDY.cohorts[cohort].path) for cohort in STUDY.instances[VIRTUES]],
    message:
        "Comparing a panel with the markers of the model"
    script:
        "../workflow_scripts/cohorts/check_panel.py"
