# Clinical classes of whole tissues by gated attention over all their patch tokens (Fig. 4f).
TISSUE_TASKS = {
    cohort: {task: STUDY.cohorts[cohort].tasks[task] for task in tasks}
    for cohort, tasks in config["tissue_tasks"]["tasks"].items()
    if cohort in STUDY.cohorts and tasks
}
CLASSIFIED = {
    model: {c: TISSUE_TASKS[c] for c in TISSUE_TASKS if (model, c) in EMBEDDED} for model in MODELS
}
CLASSIFYING = [model for model, tasks in CLASSIFIED.items() if tasks]
# Raw counts stand beside mean intensities (D9), in the same job.
IN_JOB = {model: [model] for model in CLASSIFYING}
if config["tissue_tasks"]["raw_counts"] and "mean_intensity" in IN_JOB:
    IN_JOB["mean_intensity"].append(COUNTS)
TISSUES_CLASSIFIED = expand(f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet", cohort=TISSUE_TASKS)
# Why there are no tasks of a cohort that the paper's statements are about.
NOT_CLASSIFIED = {
    cohort: "none of its tasks is set" if cohort in COHORTS else STUDY.why_not(cohort)
    for cohort in config["tissue_tasks"]["tasks"]
    if cohort not in TISSUE_TASKS
}


if not CLASSIFYING:
    NOT_RUN |= dict.fromkeys(
        ("fig4f", "figS19"), "; ".join(dict.fromkeys(NOT_CLASSIFIED.values())) or "no tasks are set"
    )
else:

    rule classify_tissues:
        input:
            embeddings=lambda w: expand(
                f"{R}/embeddings/{{model}}/{{cohort}}",
                model=IN_JOB[w.model],
                cohort=CLASSIFIED[w.model],
            ),
            tissues=lambda w: expand(
                f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet", cohort=CLASSIFIED[w.model]
            ),
        output:
            predictions=f"{R}/tasks/tissues/{{model}}/predictions.parquet",
            attention=f"{R}/tasks/tissues/{{model}}/attention.npz",
            facts=f"{R}/tasks/tissues/{{model}}/facts.json",
        log:
            f"{LOGS}/classify_tissues/{{model}}.log",
        benchmark:
            f"{BENCH}/classify_tissues/{{model}}.tsv"
        wildcard_constraints:
            model=one_of(CLASSIFYING),
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(4000 + 4 * config["tissue_tasks"]["memory_mb"]),
            runtime=minutes(24 * 60),
        params:
            code=code("workflow_scripts/patients/classify_tissues.py"),
            tasks=lambda w: CLASSIFIED[w.model],
            settings={
                key: config["tissue_tasks"][key]
                for key in (
                    "heads",
                    "hidden",
                    "learning_rate",
                    "batch",
                    "epochs",
                    "patience",
                    "validation",
                    "memory_mb",
                )
            },
            seeds=SEEDS,
            device=config["device"],
            models=lambda w: IN_JOB[w.model],
            embeddings=lambda w: f"{R}/embeddings",
            cohorts=lambda w: f"{R}/cohorts",
        message:
            "Classifying tissues by tokens of {wildcards.model}"
        script:
            "../workflow_scripts/patients/classify_tissues.py"

    rule fig4f:
        input:
            predictions=expand(
                f"{R}/tasks/tissues/{{model}}/predictions.parquet", model=CLASSIFYING
            ),
            facts=expand(f"{R}/tasks/tissues/{{model}}/facts.json", model=CLASSIFYING),
            metrics=[f"{R}/models/{m}/metrics.json" for m in CLASSIFYING if m in INSTANCES],
            tissues=TISSUES_CLASSIFIED,
            cells=expand(f"{R}/cohorts/{{cohort}}/metadata/cells.parquet", cohort=TISSUE_TASKS),
        output:
            numbers=f"{R}/figures/fig4f/numbers.json",
        log:
            f"{LOGS}/figures/fig4f.log",
        benchmark:
            f"{BENCH}/figures/fig4f.tsv"
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/patients/fig4f.py"),
            target=TARGETS["fig4f"],
            tasks=TISSUE_TASKS,
            tumour=config["tissue_tasks"]["tumour"],
            models=[each for model in CLASSIFYING for each in IN_JOB[model]],
            model=VIRTUES,
            absent=NOT_CLASSIFIED,
            cohorts=lambda w: f"{R}/cohorts",
            bootstrap=config["tissue_tasks"]["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4f"
        script:
            "../workflow_scripts/patients/fig4f.py"

    rule figS19:
        input:
            tissues=TISSUES_CLASSIFIED,
        output:
            numbers=f"{R}/figures/figS19/numbers.json",
        log:
            f"{LOGS}/figures/figS19.log",
        benchmark:
            f"{BENCH}/figures/figS19.tsv"
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(30),
        params:
            code=code("workflow_scripts/patients/figS19.py"),
            target=TARGETS["figS19"],
            tasks=TISSUE_TASKS,
            cohorts=lambda w: f"{R}/cohorts",
            simulated=config["simulated"],
        message:
            "Drawing figS19"
        script:
            "../workflow_scripts/patients/figS19.py"
