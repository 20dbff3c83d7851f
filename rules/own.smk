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
    # As in rule ingest: the reader is imported by name, also where the panel is compared.
    OWN_CODE = {
        script: code(
            f"workflow_scripts/cohorts/{script}.py",
            f"workflow_scripts/cohorts/readers/{OWN.cohort.reader}.py",
        )
        for script in ("check_panel", "ingest")
    }
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
            code=OWN_CODE["check_panel"],
            cohort=config["cohort"],
            trained=[str(cohort.path) for cohort in OWN.cohorts],
            described=OWN.cohort.computed,
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
            code=OWN_CODE["ingest"],
            cohort=OWN.cohort.computed,
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
