# A cohort of one's own through a trained model; `all` asks for nothing of it (docs/own-cohort.md).
from workflow_scripts.own.settings import resolve_own, why_no_references

OWN_ROOT = "results/own/{cohort}"
OWN_INGEST = f"{OWN_ROOT}/ingest/{{cohort}}"
OWN_COHORT = f"{OWN_ROOT}/cohorts/{{cohort}}"
OWN_MODEL = f"{OWN_ROOT}/models/{{instance}}"
OWN_LOGS = f"{OWN_ROOT}/logs"
OWN_BENCH = f"{OWN_ROOT}/benchmarks"
OWN = None

if config["cohort"]:
    try:
        OWN = resolve_own(STUDY, load_cohort(config["cohort"]))
        WITHOUT = why_no_references(STUDY, OWN)
    except InputError as error:
        OWN, NO_OWN = None, str(error)
else:
    NO_OWN = (
        "own_cohort: no cohort is named; expected the path of a cohort file: "
        "snakemake --cores 2 own_cohort --config cohort=mine.yaml"
    )


if OWN is None:

    # A script that fails says it in one sentence; a graph that cannot be drawn says it in ten.
    rule own_cohort:
        log:
            f"{LOGS}/own_cohort.log",
        localrule: True
        params:
            reason=NO_OWN,
        message:
            "Looking for a cohort of your own"
        script:
            "../workflow_scripts/own/own_cohort.py"

else:
    OWN_FOLDER = f"results/own/{OWN.cohort.id}"

    rule own_cohort:
        input:
            f"{OWN_FOLDER}/index.html",
            f"{OWN_FOLDER}/cells.h5ad",
        localrule: True

    OWN_ONLY = OWN.cohort.id.replace("-", "[-]")
    REFERENCES = {
        kind: cohort
        for kind, cohort in {
            "types": config["cells"]["transfer"]["source"],
            "cases": config["retrieval"]["cohort"],
        }.items()
        if kind not in WITHOUT
    }
    # Panels of training cohorts whose file does not list its channels are known when ingested.
    UNLISTED = [
        f"{R}/ingest/{cohort.id}/channels.parquet"
        for cohort in OWN.cohorts
        if not cohort.channels
    ]
    OWN_PREPARED = prepared(OWN.cohort.id, OWN_FOLDER)
    OWN_WEIGHTS = (
        given_file(PUBLISHED)
        if OWN.model == PUBLISHED
        else f"{R}/models/{OWN.model}/model.safetensors"
    )

    use rule check_panel as own_panel with:
        input:
            unpack(lambda w: cohort_sources(OWN.cohort)),
            trained=UNLISTED,
        output:
            panel=f"{OWN_ROOT}/panel.parquet",
        log:
            f"{OWN_LOGS}/panel.log",
        wildcard_constraints:
            cohort=OWN_ONLY,
        params:
            cohort=config["cohort"],
            trained=[str(cohort.path) for cohort in OWN.cohorts],
            listing=listing(OWN.cohort.folder),
        message:
            "Comparing the panel of {wildcards.cohort} with the markers of the model"

    use rule ingest as own_ingest with:
        input:
            unpack(lambda w: cohort_sources(OWN.cohort)),
            # A panel of which the model knows nothing stops before an image is read.
            panel=f"{OWN_ROOT}/panel.parquet",
        output:
            images=directory(f"{OWN_INGEST}/images"),
            cell_masks=directory(f"{OWN_INGEST}/cell_masks"),
            tissue_masks=directory(f"{OWN_INGEST}/tissue_masks"),
            channels=f"{OWN_INGEST}/channels.parquet",
            tissues=f"{OWN_INGEST}/tissues.parquet",
            cells=f"{OWN_INGEST}/cells.parquet",
            neighbours=f"{OWN_INGEST}/neighbours.parquet",
            channels_per_tissue=f"{OWN_INGEST}/channels_per_tissue.parquet",
            exclusions=f"{OWN_INGEST}/exclusions.csv",
            summary=f"{OWN_INGEST}/ingest.json",
        log:
            f"{OWN_LOGS}/ingest.log",
        benchmark:
            f"{OWN_BENCH}/ingest.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        params:
            code=code("workflow_scripts/cohorts/ingest.py"),
            mask_sigma=config["tissue"]["mask_sigma"],
            listing=listing(OWN.cohort.folder),
        message:
            "Ingesting {wildcards.cohort}"

    use rule split as own_split with:
        input:
            tissues=f"{OWN_INGEST}/tissues.parquet",
            cells=f"{OWN_INGEST}/cells.parquet",
            images=f"{OWN_INGEST}/images",
            tissue_masks=f"{OWN_INGEST}/tissue_masks",
            cell_masks=f"{OWN_INGEST}/cell_masks",
        output:
            tissues=f"{OWN_COHORT}/metadata/tissues.parquet",
            cells=f"{OWN_COHORT}/metadata/cells.parquet",
            exclusions=f"{OWN_COHORT}/exclusions.csv",
            sub_images=f"{OWN_COHORT}/sub_images.parquet",
            split=f"{OWN_ROOT}/splits/{{cohort}}.csv",
        log:
            f"{OWN_LOGS}/split.log",
        benchmark:
            f"{OWN_BENCH}/split.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        message:
            "Filtering {wildcards.cohort}"

    OWN_STANDARDIZATION = STANDARDIZATION.replace(f"{R}/cohorts/{{cohort}}", OWN_COHORT)

    use rule preprocess as own_preprocess with:
        input:
            tissues=f"{OWN_COHORT}/metadata/tissues.parquet",
            channels=f"{OWN_INGEST}/channels.parquet",
            channels_per_tissue=f"{OWN_INGEST}/channels_per_tissue.parquet",
            images=f"{OWN_INGEST}/images",
            tissue_masks=f"{OWN_INGEST}/tissue_masks",
        output:
            channels=f"{OWN_COHORT}/imc/channels.parquet",
            channels_per_tissue=f"{OWN_COHORT}/imc/channels_per_tissue.parquet",
            quantiles=f"{OWN_STANDARDIZATION}/image_level_upper_quantiles.parquet",
            means=f"{OWN_STANDARDIZATION}/global_level_means.parquet",
            stds=f"{OWN_STANDARDIZATION}/global_level_stds.parquet",
            model_ready=directory(f"{OWN_COHORT}/model_ready"),
        log:
            f"{OWN_LOGS}/preprocess.log",
        benchmark:
            f"{OWN_BENCH}/preprocess.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        message:
            "Preprocessing {wildcards.cohort}"

    rule list_markers:
        input:
            channels=f"{OWN_INGEST}/channels.parquet",
            trained=UNLISTED,
        output:
            markers=f"{OWN_ROOT}/markers/listed.parquet",
        log:
            f"{OWN_LOGS}/list_markers.log",
        benchmark:
            f"{OWN_BENCH}/list_markers.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        resources:
            mem_mb=megabytes(1000),
            runtime=minutes(10),
        params:
            code=code("workflow_scripts/own/list_markers.py"),
            trained={
                row["uniprot"]: row.get("marker", row.get("channel"))
                for cohort in OWN.cohorts
                for row in cohort.channels
                if row.get("uniprot")
            },
            panel=OWN.panel,
            stain=OWN.settings["stain"],
            where=str(OWN.cohort.path) if OWN.cohort.own else "settings",
        message:
            "Listing the markers that {wildcards.cohort} needs"
        script:
            "../workflow_scripts/own/list_markers.py"

    localrules:
        own_sequences,

    use rule retrieve_sequences as own_sequences with:
        input:
            channels=[f"{OWN_ROOT}/markers/listed.parquet"],
            fasta=[] if SEQUENCES in ("uniprot", "synthetic") else SEQUENCES,
        output:
            sequences=f"{OWN_ROOT}/markers/sequences.fasta",
        log:
            f"{OWN_LOGS}/sequences.log",
        benchmark:
            f"{OWN_BENCH}/sequences.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        message:
            "Retrieving the sequences of the markers of {wildcards.cohort}"

    use rule embed_markers as own_embed_markers with:
        input:
            unpack(lambda w: marker_sources(w, f"{OWN_ROOT}/markers/sequences.fasta")),
            channels=[f"{OWN_ROOT}/markers/listed.parquet"],
        output:
            embeddings=f"{OWN_ROOT}/markers/embeddings.safetensors",
        log:
            f"{OWN_LOGS}/embed_markers.log",
        benchmark:
            f"{OWN_BENCH}/embed_markers.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
        message:
            "Embedding the markers of {wildcards.cohort}"

    # The same weights with the embeddings of all markers in question, also of new ones.
    use rule given_weights as own_model with:
        input:
            weights=OWN_WEIGHTS,
            embeddings=f"{OWN_ROOT}/markers/embeddings.safetensors",
        output:
            weights=f"{OWN_MODEL}/model.safetensors",
            config=f"{OWN_MODEL}/config.json",
            metrics=f"{OWN_MODEL}/metrics.json",
        log:
            f"{OWN_LOGS}/model_{{instance}}.log",
        benchmark:
            f"{OWN_BENCH}/model_{{instance}}.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
            instance=OWN.model,
        params:
            code=code("workflow_scripts/pretrain/given_weights.py"),
            cohorts=[cohort.id for cohort in OWN.cohorts],
            model=config["model"],
        message:
            "Taking the weights of {wildcards.instance} for {wildcards.cohort}"

    use rule embed as own_embed with:
        input:
            weights=lambda w: f"{OWN_FOLDER}/models/{w.model}/model.safetensors",
            embeddings=f"{OWN_ROOT}/markers/embeddings.safetensors",
            cohort=OWN_PREPARED,
        output:
            directory(f"{OWN_ROOT}/embeddings/{{model}}"),
        log:
            f"{OWN_LOGS}/embed_{{model}}.log",
        benchmark:
            f"{OWN_BENCH}/embed_{{model}}.tsv"
        wildcard_constraints:
            cohort=OWN_ONLY,
            model=OWN.model,
        params:
            code=code("workflow_scripts/embed/embed.py"),
            settings=embed_settings,
            min_coverage=config["tissue"]["min_coverage"],
            device=config["device"],
            cohort_folder=lambda w: f"{OWN_FOLDER}/cohorts/{OWN.cohort.id}",
            model_folder=lambda w: f"{OWN_FOLDER}/models/{OWN.model}",
        message:
            "Embedding {wildcards.cohort} with {wildcards.model}"

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
