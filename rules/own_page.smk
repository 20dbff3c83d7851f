# What a trained model says of a cohort of one's own: stains, cell types, similar cases, its page.
if OWN is not None:

    rule stain_markers:
        input:
            weights=f"{OWN_FOLDER}/models/{OWN.model}/model.safetensors",
            embeddings=f"{OWN_ROOT}/markers/embeddings.safetensors",
            markers=f"{OWN_ROOT}/markers/listed.parquet",
            cohort=OWN_PREPARED,
        output:
            stains=directory(f"{OWN_ROOT}/stains"),
            markers=f"{OWN_ROOT}/markers.parquet",
        log:
            f"{OWN_LOGS}/stain_markers.log",
        benchmark:
            f"{OWN_BENCH}/stain_markers.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
            runtime=minutes(24 * 60),
        params:
            code=code("workflow_scripts/own/stain_markers.py"),
            model=OWN.model,
            own={key: OWN.settings[key] for key in ("crops", "coverage")},
            settings=config["embed"] | {"patch": config["model"]["patch"]},
            min_coverage=config["tissue"]["min_coverage"],
            seed=SEEDS[0],
            device=config["device"],
            cohort_folder=lambda w: f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}",
            model_folder=lambda w: f"{OWN_FOLDER}/models/{OWN.model}",
        message:
            "Staining {wildcards.cohort} virtually with the given model"
        script:
            "../workflow_scripts/own/stain_markers.py"

    rule embed_references:
        input:
            weights=f"{OWN_FOLDER}/models/{OWN.model}/model.safetensors",
            embeddings=f"{OWN_ROOT}/markers/embeddings.safetensors",
            cohort=OWN_PREPARED,
            references=[path for cohort in REFERENCES.values() for path in prepared(cohort)],
        output:
            directory(f"{OWN_ROOT}/tokens"),
        log:
            f"{OWN_LOGS}/embed_references.log",
        benchmark:
            f"{OWN_BENCH}/embed_references.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
            runtime=minutes(24 * 60),
        params:
            code=code("workflow_scripts/own/embed_references.py"),
            model=OWN.model,
            settings=config["embed"] | {"patch": config["model"]["patch"]},
            fewest_markers=config["cells"]["transfer"]["fewest_markers"],
            tissues=OWN.settings["reference_tissues"],
            seed=SEEDS[0],
            device=config["device"],
            references={kind: cohort_folder(cohort) for kind, cohort in REFERENCES.items()},
            cohort_folder=lambda w: f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}",
            model_folder=lambda w: f"{OWN_FOLDER}/models/{OWN.model}",
        message:
            "Embedding {wildcards.cohort} and its references by shared markers"
        script:
            "../workflow_scripts/own/embed_references.py"

    rule compare:
        input:
            tokens=f"{OWN_ROOT}/tokens",
            cohort=OWN_PREPARED,
        output:
            cells=f"{OWN_ROOT}/types.parquet",
            cases=f"{OWN_ROOT}/cases.parquet",
            facts=f"{OWN_ROOT}/compared.json",
        log:
            f"{OWN_LOGS}/compare.log",
        benchmark:
            f"{OWN_BENCH}/compare.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        threads: config["embed"]["threads"]
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
            runtime=minutes(12 * 60),
        params:
            code=code("workflow_scripts/own/compare.py"),
            model=OWN.model,
            settings=config["cells"]["transfer"],
            cases=OWN.settings["cases"],
            seed=SEEDS[0],
            references={kind: cohort_folder(cohort) for kind, cohort in REFERENCES.items()},
            cohort_folder=lambda w: f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}",
        message:
            "Comparing {wildcards.cohort} with its references"
        script:
            "../workflow_scripts/own/compare.py"

    COMPARED_WITH = (
        {
            "types": f"{OWN_FOLDER}/types.parquet",
            "cases": f"{OWN_FOLDER}/cases.parquet",
            "compared": f"{OWN_FOLDER}/compared.json",
        }
        if REFERENCES
        else {}
    )

    rule export_own:
        input:
            **{key: COMPARED_WITH[key] for key in COMPARED_WITH if key == "types"},
            embeddings=f"{OWN_ROOT}/embeddings/{OWN.model}",
            cells=f"{OWN_COHORT}/metadata/cells.parquet",
            tissues=f"{OWN_COHORT}/metadata/tissues.parquet",
            channels=f"{OWN_COHORT}/imc/channels.parquet",
            markers=f"{OWN_ROOT}/markers.parquet",
        output:
            cells=f"{OWN_ROOT}/cells.h5ad",
            niches=f"{OWN_ROOT}/niches.h5ad",
        log:
            f"{OWN_LOGS}/export_own.log",
        benchmark:
            f"{OWN_BENCH}/export_own.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        resources:
            mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
            runtime=minutes(120),
        params:
            code=code("workflow_scripts/own/export_own.py"),
            model=OWN.model,
            crop=config["embed"]["crop"],
            simulated=config["simulated"],
        message:
            "Exporting the cells and niches of {wildcards.cohort}"
        script:
            "../workflow_scripts/own/export_own.py"

    rule own_page:
        input:
            **COMPARED_WITH,
            panel=f"{OWN_FOLDER}/panel.parquet",
            card=str(OWN.cohort.path),
            ingest=f"{OWN_FOLDER}/ingest/{OWN.cohort.id}/ingest.json",
            exclusions=f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}/exclusions.csv",
            cells=f"{OWN_FOLDER}/cells.h5ad",
            stains=f"{OWN_FOLDER}/stains",
            markers=f"{OWN_FOLDER}/markers.parquet",
            metrics=f"{OWN_FOLDER}/models/{OWN.model}/metrics.json",
        output:
            page=f"{OWN_ROOT}/index.html",
        log:
            f"{OWN_LOGS}/own_page.log",
        benchmark:
            f"{OWN_BENCH}/own_page.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        resources:
            mem_mb=megabytes(4000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/own/own_page.py"),
            own=OWN.settings,
            model=OWN.model,
            trained_on=[cohort.title for cohort in OWN.cohorts],
            without=WITHOUT,
            references={kind: cohort_folder(cohort) for kind, cohort in REFERENCES.items()},
            tasks={kind: STUDY.cohorts[cohort].tasks for kind, cohort in REFERENCES.items()},
            simulated=config["simulated"],
            cohort_folder=lambda w: f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}",
        message:
            "Writing the page of {wildcards.cohort}"
        script:
            "../workflow_scripts/own/own_page.py"
