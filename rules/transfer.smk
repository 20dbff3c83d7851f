# Cell types carried from one cohort to another by the markers that both have (Fig. 3f, g).
TRANSFER = config["cells"]["transfer"]
PAIR = (TRANSFER["source"], TRANSFER["target"])
NO_TRANSFER = ", ".join(c for c in PAIR if c not in COHORTS)
NO_TRANSFER = f"not among the cohorts of this study: {NO_TRANSFER}" if NO_TRANSFER else ""
# The instance without the target stands beside the one that has seen it (T6).
UNSEEN_TARGET = LEFT_OUT.get(PAIR[1])
# Whatever was trained on the source, or on no cohort in particular, can serve the target.
SHARED_MODELS = [m for m in MODELS if (m, PAIR[0]) in CELLS_EMBEDDED]
SHARED_MODELS = list(
    dict.fromkeys([*SHARED_MODELS[:1], *filter(None, [UNSEEN_TARGET]), *SHARED_MODELS[1:]])
)
TRANSFERRED = [] if NO_TRANSFER else [*SHARED_MODELS, COUNTS]
# Fig. 3f shows VirTues and KRONOS; mean intensities stand in while there is no KRONOS.
PICTURED = [m for m in (VIRTUES, "kronos", "mean_intensity") if m in TRANSFERRED][:2]


rule embed_shared:
    input:
        weights=lambda w: model_files(w, PAIR[0]),
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohorts=lambda w: [path for cohort in PAIR for path in prepared(cohort)],
    output:
        directory(f"{R}/tasks/transfer/{{model}}/tokens"),
    log:
        f"{LOGS}/embed_shared/{{model}}.log",
    benchmark:
        f"{BENCH}/embed_shared/{{model}}.tsv"
    threads: config["embed"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
        runtime=minutes(24 * 60),
    params:
        code=code("workflow_scripts/cells/embed_shared.py"),
        settings=embed_settings,
        device=config["device"],
        cohort_folders=[cohort_folder(cohort) for cohort in PAIR],
        model_folder=lambda w: f"{R}/models/{model_name(w, PAIR[0])}",
    message:
        "Embedding cells by shared markers with {wildcards.model}"
    script:
        "../workflow_scripts/cells/embed_shared.py"


rule transfer_labels:
    input:
        tokens=transfer_tokens,
        cells=[f"{R}/cohorts/{cohort}/metadata/cells.parquet" for cohort in PAIR],
        tissues=[f"{R}/cohorts/{cohort}/metadata/tissues.parquet" for cohort in PAIR],
    output:
        cells=f"{R}/tasks/transfer/{{model}}/cells.parquet",
        facts=f"{R}/tasks/transfer/{{model}}/facts.json",
    log:
        f"{LOGS}/transfer_labels/{{model}}.log",
    benchmark:
        f"{BENCH}/transfer_labels/{{model}}.tsv"
    wildcard_constraints:
        model="|".join([*SHARED_MODELS, COUNTS]),
    threads: config["embed"]["threads"]
    resources:
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 2000),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/cells/transfer_labels.py"),
        settings=TRANSFER,
        seed=SEEDS[0],
        tokens=lambda w, input: os.path.commonpath(
            [path if w.model in SHARED_MODELS else os.path.dirname(path) for path in input.tokens]
        ),
        cohort_folders=[cohort_folder(cohort) for cohort in PAIR],
    message:
        "Transferring cell types with {wildcards.model}"
    script:
        "../workflow_scripts/cells/transfer_labels.py"


rule fig3f:
    input:
        cells=[f"{R}/tasks/transfer/{m}/cells.parquet" for m in PICTURED],
    output:
        numbers=f"{R}/figures/fig3f/numbers.json",
    log:
        f"{LOGS}/figures/fig3f.log",
    benchmark:
        f"{BENCH}/figures/fig3f.tsv"
    resources:
        mem_mb=megabytes(4000 if config["device"] == "cuda" else 2000),
        runtime=minutes(30),
    params:
        code=code("workflow_scripts/cells/fig3f.py"),
        target=TARGETS["fig3f"],
        reason=NO_TRANSFER,
        cohort_folder=cohort_folder(PAIR[1]),
        simulated=config["simulated"],
    message:
        "Drawing fig3f"
    script:
        "../workflow_scripts/cells/fig3f.py"


rule fig3g:
    input:
        cells=[f"{R}/tasks/transfer/{m}/cells.parquet" for m in TRANSFERRED],
        metrics=[f"{R}/models/{m}/metrics.json" for m in TRANSFERRED if m in INSTANCES],
    output:
        numbers=f"{R}/figures/fig3g/numbers.json",
    log:
        f"{LOGS}/figures/fig3g.log",
    benchmark:
        f"{BENCH}/figures/fig3g.tsv"
    resources:
        mem_mb=megabytes(4000 if config["device"] == "cuda" else 2000),
        runtime=minutes(30),
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/fig3g.py"),
        target=TARGETS["fig3g"],
        settings=TRANSFER,
        reason=NO_TRANSFER,
        models=TRANSFERRED,
        unseen=UNSEEN_TARGET,
        nucleus=config["rivals"]["kronos"]["nucleus"],
    message:
        "Drawing fig3g"
    script:
        "../workflow_scripts/cells/fig3g.py"
