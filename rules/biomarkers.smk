# Signatures of treatment response among cells before treatment (Fig. 5d-g, Suppl. Fig. 22).
BIOMARKERS = config["biomarkers"]
SIGNATURES = BIOMARKERS["signatures"]
# Settings that matter to the search; the others to what is made of it.
SEARCH = ["neighbours", "resolutions", "iterations", "largest_cluster"]
SEARCH += ["overlap", "folds", "repeats"]
TREATED = STUDY.cohorts.get(BIOMARKERS["cohort"])
TREATED_FOLDER = cohort_folder(BIOMARKERS["cohort"])
TREATED_EMBEDDINGS = f"{R}/embeddings/{{model}}/{BIOMARKERS['cohort']}"
FOUND = f"{R}/tasks/biomarkers/{{model}}"
FOUND_BY_VIRTUES = {
    "signatures": f"{R}/tasks/biomarkers/{VIRTUES}/signatures.parquet",
    "facts": f"{R}/tasks/biomarkers/{VIRTUES}/signatures.json",
    "cells": f"{R}/tasks/biomarkers/{VIRTUES}/cells.parquet",
    "metrics": f"{R}/models/{VIRTUES}/metrics.json",
}
# The cohort's own table of neighbours, which ingest leaves without rows where there is none (D15).
NEIGHBOURS = BIOMARKERS["surroundings"]["graph"] or []
if NEIGHBOURS == "shipped":
    NEIGHBOURS = f"{R}/ingest/{BIOMARKERS['cohort']}/neighbours.parquet"
NO_SIGNATURES = None
if TREATED is None:
    NO_SIGNATURES = STUDY.why_not(BIOMARKERS["cohort"])
elif "classes" not in TREATED.tasks.get(BIOMARKERS["task"], {}):
    NO_SIGNATURES = f"{TREATED.id} has no task {BIOMARKERS['task']} with classes"
elif (VIRTUES, BIOMARKERS["cohort"]) not in CELLS_EMBEDDED:
    NO_SIGNATURES = f"{VIRTUES} is not among the models of this study"


if NO_SIGNATURES:
    NOT_RUN |= dict.fromkeys(("fig5d", "fig5e", "fig5f", "fig5g", "figS22"), NO_SIGNATURES)
else:

    rule find_signatures:
        input:
            embeddings=TREATED_EMBEDDINGS,
            cells=f"{TREATED_FOLDER}/metadata/cells.parquet",
            tissues=f"{TREATED_FOLDER}/metadata/tissues.parquet",
        output:
            signatures=f"{FOUND}/signatures.parquet",
            facts=f"{FOUND}/signatures.json",
            cells=f"{FOUND}/cells.parquet",
            clusters=f"{FOUND}/clusters.npz",
            funnel=f"{FOUND}/patients.csv",
        log:
            f"{LOGS}/find_signatures/{{model}}.log",
        benchmark:
            f"{BENCH}/find_signatures/{{model}}.tsv"
        threads: SIGNATURES["threads"]
        resources:
            mem_mb=megabytes(48000 if config["device"] == "cuda" else 1000),
            runtime=minutes(12 * 60),
        params:
            code=code("workflow_scripts/biomarkers/find_signatures.py"),
            settings={key: SIGNATURES[key] for key in SEARCH},
            cohort_folder=lambda w: TREATED_FOLDER,
            task=TREATED.tasks[BIOMARKERS["task"]],
            where=f"{BIOMARKERS['cohort']}: tasks.{BIOMARKERS['task']}",
            visit=BIOMARKERS["visit"],
            before=BIOMARKERS["before"],
            patients=BIOMARKERS["patients"],
            label=BIOMARKERS["label"],
            seed=SEEDS[0],
        message:
            "Looking for signatures of response with {wildcards.model}"
        script:
            "../workflow_scripts/biomarkers/find_signatures.py"

    rule fig5d:
        input:
            **FOUND_BY_VIRTUES,
            embeddings=TREATED_EMBEDDINGS.format(model=VIRTUES),
        output:
            numbers=f"{R}/figures/fig5d/numbers.json",
        log:
            f"{LOGS}/figures/fig5d.log",
        benchmark:
            f"{BENCH}/figures/fig5d.tsv"
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
            runtime=minutes(2 * 60),
        params:
            code=code("workflow_scripts/biomarkers/fig5d.py"),
            target=TARGETS["fig5d"],
            cells=BIOMARKERS["map_cells"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig5d"
        script:
            "../workflow_scripts/biomarkers/fig5d.py"

    rule fig5e:
        input:
            **FOUND_BY_VIRTUES,
            clusters=f"{R}/tasks/biomarkers/{VIRTUES}/clusters.npz",
            funnel=f"{R}/tasks/biomarkers/{VIRTUES}/patients.csv",
            published=SIGNATURES["published"] or [],
        output:
            numbers=f"{R}/figures/fig5e/numbers.json",
        log:
            f"{LOGS}/figures/fig5e.log",
        benchmark:
            f"{BENCH}/figures/fig5e.tsv"
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 1000),
            runtime=minutes(2 * 60),
        params:
            code=code("workflow_scripts/biomarkers/fig5e.py"),
            target=TARGETS["fig5e"],
            settings=SIGNATURES,
            tumour=BIOMARKERS["tumour"],
            ratios=BIOMARKERS["ratios"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig5e"
        script:
            "../workflow_scripts/biomarkers/fig5e.py"

    rule fig5f:
        input:
            **FOUND_BY_VIRTUES,
        output:
            numbers=f"{R}/figures/fig5f/numbers.json",
        log:
            f"{LOGS}/figures/fig5f.log",
        benchmark:
            f"{BENCH}/figures/fig5f.tsv"
        resources:
            mem_mb=megabytes(4000 if config["device"] == "cuda" else 1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/biomarkers/composition.py"),
            target=TARGETS["fig5f"],
            kind="shares",
            tumour=BIOMARKERS["tumour"],
            bootstrap=SIGNATURES["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig5f"
        script:
            "../workflow_scripts/biomarkers/composition.py"

    use rule fig5f as figS22 with:
        output:
            numbers=f"{R}/figures/figS22/numbers.json",
        log:
            f"{LOGS}/figures/figS22.log",
        benchmark:
            f"{BENCH}/figures/figS22.tsv"
        params:
            code=code("workflow_scripts/biomarkers/composition.py"),
            target=TARGETS["figS22"],
            kind="changes",
            tumour=BIOMARKERS["tumour"],
            bootstrap=SIGNATURES["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing figS22"

    rule fig5g:
        input:
            **FOUND_BY_VIRTUES,
            cohort=prepared(BIOMARKERS["cohort"]),
            graph=NEIGHBOURS,
        output:
            numbers=f"{R}/figures/fig5g/numbers.json",
        log:
            f"{LOGS}/figures/fig5g.log",
        benchmark:
            f"{BENCH}/figures/fig5g.tsv"
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/biomarkers/fig5g.py"),
            target=TARGETS["fig5g"],
            settings=BIOMARKERS["surroundings"],
            bootstrap=SIGNATURES["bootstrap"],
            cohort_folder=lambda w: TREATED_FOLDER,
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig5g"
        script:
            "../workflow_scripts/biomarkers/fig5g.py"
