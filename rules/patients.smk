# Risk groups of patients from the states of their cells (Fig. 4b-d, Suppl. Fig. 18).
RISK = config["risk_groups"]
RISK_COHORT = STUDY.cohorts.get(RISK["cohort"])
RISK_TASK = RISK_COHORT.tasks.get(RISK["task"]) if RISK_COHORT else None
RISK_MODELS = [VIRTUES]
# Raw counts need no model (D9); the rule that averages them stands in cells.smk.
RISK_MODELS += [m for m in RISK["compared"] if m == COUNTS or (m, RISK["cohort"]) in CELLS_EMBEDDED]
RISK_FOLDER = f"{R}/tasks/risk_groups"
RISK_FACTS = f"{RISK_FOLDER}/facts.json"
RISK_METRICS = f"{R}/models/{VIRTUES}/metrics.json"


if RISK_TASK is None:
    LACKS = f"{RISK['cohort']} has no task {RISK['task']!r}"
    REASON = LACKS if RISK_COHORT else STUDY.why_not(RISK["cohort"])
    NOT_RUN |= dict.fromkeys(("fig4b", "fig4c", "fig4d", "figS18"), REASON)
else:

    rule risk_groups:
        input:
            embeddings=expand(f"{R}/embeddings/{{model}}/{RISK['cohort']}", model=RISK_MODELS),
            tissues=f"{cohort_folder(RISK['cohort'])}/metadata/tissues.parquet",
            cells=f"{cohort_folder(RISK['cohort'])}/metadata/cells.parquet",
        output:
            patients=f"{RISK_FOLDER}/patients.parquet",
            structures=f"{RISK_FOLDER}/structures.parquet",
            sensitivity=f"{RISK_FOLDER}/sensitivity.parquet",
            cells=f"{RISK_FOLDER}/cells.parquet",
            facts=RISK_FACTS,
        log:
            f"{LOGS}/risk_groups.log",
        benchmark:
            f"{BENCH}/risk_groups.tsv"
        threads: config["embed"]["threads"]
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
            runtime=minutes(12 * 60),
        params:
            code=code("workflow_scripts/patients/risk_groups.py"),
            models=RISK_MODELS,
            cohort_folder=lambda w: cohort_folder(RISK["cohort"]),
            task=RISK_TASK,
            where=f"{RISK['cohort']}: tasks.{RISK['task']}",
            settings=RISK,
            seeds=SEEDS,
        message:
            "Grouping the patients of {RISK[cohort]} by the states of their cells"
        script:
            "../workflow_scripts/patients/risk_groups.py"

    rule fig4b:
        input:
            facts=RISK_FACTS,
            cells=f"{RISK_FOLDER}/cells.parquet",
            metrics=RISK_METRICS,
        output:
            numbers=f"{R}/figures/fig4b/numbers.json",
        log:
            f"{LOGS}/figures/fig4b.log",
        benchmark:
            f"{BENCH}/figures/fig4b.tsv"
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/patients/fig4b.py"),
            target=TARGETS["fig4b"],
            contours=RISK["contours"],
            bootstrap=RISK["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4b"
        script:
            "../workflow_scripts/patients/fig4b.py"

    rule fig4c:
        input:
            facts=RISK_FACTS,
            patients=f"{RISK_FOLDER}/patients.parquet",
            sensitivity=f"{RISK_FOLDER}/sensitivity.parquet",
            metrics=RISK_METRICS,
        output:
            numbers=f"{R}/figures/fig4c/numbers.json",
        log:
            f"{LOGS}/figures/fig4c.log",
        benchmark:
            f"{BENCH}/figures/fig4c.tsv"
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/patients/fig4c.py"),
            target=TARGETS["fig4c"],
            settings={k: RISK[k] for k in ("high", "covariates", "permutations")},
            unit=RISK_TASK.get("unit", "unknown"),
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4c"
        script:
            "../workflow_scripts/patients/fig4c.py"

    rule fig4d:
        input:
            facts=RISK_FACTS,
            patients=f"{RISK_FOLDER}/patients.parquet",
            structures=f"{RISK_FOLDER}/structures.parquet",
            metrics=RISK_METRICS,
        output:
            numbers=f"{R}/figures/fig4d/numbers.json",
        log:
            f"{LOGS}/figures/fig4d.log",
        benchmark:
            f"{BENCH}/figures/fig4d.tsv"
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/patients/fig4d.py"),
            target=TARGETS["fig4d"],
            structure_share=RISK["structure_share"],
            bootstrap=RISK["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4d"
        script:
            "../workflow_scripts/patients/fig4d.py"

    rule figS18:
        input:
            facts=RISK_FACTS,
            patients=f"{RISK_FOLDER}/patients.parquet",
            structures=f"{RISK_FOLDER}/structures.parquet",
        output:
            numbers=f"{R}/figures/figS18/numbers.json",
        log:
            f"{LOGS}/figures/figS18.log",
        benchmark:
            f"{BENCH}/figures/figS18.tsv"
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/patients/figS18.py"),
            target=TARGETS["figS18"],
            unit=RISK_TASK.get("unit", "unknown"),
            structure_share=RISK["structure_share"],
            bootstrap=RISK["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing figS18"
        script:
            "../workflow_scripts/patients/figS18.py"
