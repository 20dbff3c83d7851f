# Cell types from tokens: a linear probe per cohort, granularity and model.
TASKS = [(c, label) for c in COHORTS for label in config["cells"]["labels"].get(c, [])]
PROBES = [(c, label, m) for c, label in TASKS for m in MODELS if (m, c) in CELLS_EMBEDDED]


rule probe_cells:
    input:
        embeddings=f"{R}/embeddings/{{model}}/{{cohort}}",
        cells=f"{R}/cohorts/{{cohort}}/metadata/cells.parquet",
        tissues=f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet",
    output:
        confusion=f"{R}/tasks/cells/{{model}}/{{cohort}}/{{label}}.parquet",
    log:
        f"{LOGS}/probe_cells/{{model}}_{{cohort}}_{{label}}.log",
    benchmark:
        f"{BENCH}/probe_cells/{{model}}_{{cohort}}_{{label}}.tsv"
    threads: config["embed"]["threads"]
    resources:
        mem_mb=megabytes(32000 if config["device"] == "cuda" else 2000),
        runtime=12 * 60,
    params:
        code=code("workflow_scripts/cells/probe_cells.py"),
        label="{label}",
        regularisation=config["cells"]["regularisation"],
        max_iterations=config["cells"]["max_iterations"],
    message:
        "Probing {wildcards.label} of {wildcards.cohort} in tokens of {wildcards.model}"
    script:
        "../workflow_scripts/cells/probe_cells.py"


rule fig3b:
    input:
        confusions=[f"{R}/tasks/cells/{m}/{c}/{label}.parquet" for c, label, m in PROBES],
        cells=[f"{R}/cohorts/{cohort}/metadata/cells.parquet" for cohort, _ in TASKS],
        metrics=[
            f"{R}/models/{name}/metrics.json"
            for name in (*INSTANCES, *TRAININGS)
            if name in MODELS or name.startswith("camae_")
        ],
    output:
        numbers=f"{R}/figures/fig3b/numbers.json",
    log:
        f"{LOGS}/figures/fig3b.log",
    benchmark:
        f"{BENCH}/figures/fig3b.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
        runtime=60,
    params:
        code=code("workflow_scripts/cells/fig3b.py"),
        target=TARGETS["fig3b"],
        tasks=TASKS,
        probes=PROBES,
        bootstrap=config["cells"]["bootstrap"],
        seed=SEEDS[0],
        simulated=config["simulated"],
    message:
        "Drawing fig3b"
    script:
        "../workflow_scripts/cells/fig3b.py"


rule export_cells:
    input:
        embeddings=f"{R}/embeddings/{{model}}/{{cohort}}",
        cells=f"{R}/cohorts/{{cohort}}/metadata/cells.parquet",
        tissues=f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet",
        channels=f"{R}/cohorts/{{cohort}}/imc/channels.parquet",
    output:
        cells=f"{R}/exports/{{model}}/{{cohort}}/cells.h5ad",
    log:
        f"{LOGS}/export_cells/{{model}}_{{cohort}}.log",
    benchmark:
        f"{BENCH}/export_cells/{{model}}_{{cohort}}.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
        runtime=120,
    params:
        code=code("workflow_scripts/cells/export_cells.py"),
        simulated=config["simulated"],
    message:
        "Exporting the cells of {wildcards.cohort} in tokens of {wildcards.model}"
    script:
        "../workflow_scripts/cells/export_cells.py"


rule export:
    input:
        [f"{R}/exports/{model}/{cohort}/cells.h5ad" for model, cohort in CELLS_EMBEDDED],
    localrule: True
