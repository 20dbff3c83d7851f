# Every target's numbers beside the paper's: the claims table and the report.


rule record_not_run:
    input:
        figures="resources/figures.yaml",
    output:
        numbers=[f"{R}/figures/{target}/numbers.json" for target in NOT_RUN],
    log:
        f"{LOGS}/record_not_run.log",
    benchmark:
        f"{BENCH}/record_not_run.tsv"
    resources:
        mem_mb=megabytes(500),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/report/record_not_run.py"),
        reasons=NOT_RUN,
        simulated=config["simulated"],
    message:
        "Recording what is not run"
    script:
        "../workflow_scripts/report/record_not_run.py"


# Every target answers to its name, `snakemake --cores 8 fig4c`; those with a rule already do.
for name in NOT_RUN:

    rule:
        name:
            name
        input:
            f"{R}/figures/{name}/numbers.json",
        localrule: True


rule claims_table:
    input:
        claims="resources/claims.csv",
        figures="resources/figures.yaml",
        numbers=[f"{R}/figures/{target}/numbers.json" for target in NUMBERED],
    output:
        table=report(
            f"{R}/claims.csv",
            caption="../workflow_scripts/report/captions/claims.rst",
            category="Statements of the paper",
        ),
    log:
        f"{LOGS}/claims_table.log",
    benchmark:
        f"{BENCH}/claims_table.tsv"
    resources:
        mem_mb=megabytes(500),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/report/claims_table.py"),
    message:
        "Setting the paper's numbers beside ours"
    script:
        "../workflow_scripts/report/claims_table.py"


# What the report is made of; every table of a cohort in the same order of cohorts.
REPORTED = dict(
    figures="resources/figures.yaml",
    decisions="resources/decisions.csv",
    deviations="docs/deviations.md",
    graph="docs/rulegraph.svg",
    claims=f"{R}/claims.csv",
    numbers=[f"{R}/figures/{target}/numbers.json" for target in NUMBERED],
    models=expand(f"{R}/models/{{name}}/metrics.json", name=[*INSTANCES, *TRAININGS]),
    loss_curves=f"{R}/figures/loss_curves/numbers.json",
    retrieved=[f"{config['archives']}/{cohort}/retrieved.json" for cohort in RETRIEVED],
    cards=[STUDY.cohorts[cohort].path for cohort in COHORTS],
    tissues=expand(f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet", cohort=COHORTS),
    cells=expand(f"{R}/cohorts/{{cohort}}/metadata/cells.parquet", cohort=COHORTS),
    exclusions=expand(f"{R}/cohorts/{{cohort}}/exclusions.csv", cohort=COHORTS),
    sub_images=expand(f"{R}/cohorts/{{cohort}}/sub_images.parquet", cohort=COHORTS),
    channels=expand(f"{R}/cohorts/{{cohort}}/imc/channels.parquet", cohort=COHORTS),
    ingest=expand(f"{R}/ingest/{{cohort}}/ingest.json", cohort=COHORTS),
)
# Records that stand beside downloaded weights; no rule has them for an output but the last one's.
DOWNLOADS = [
    f"{Path(file).parent}/retrieved.json"
    for file, used in (
        (ESM2_FILE, ESM2_URL and config["markers"]["source"] != "table"),
        (RESNET_FILE, RESNET_URL and "resnet50" in MODELS),
        (given_file(PUBLISHED), PUBLISHED in STUDY.given.values()),
    )
    if used
]
REPORT = dict(
    study=config["study"],
    simulated=config["simulated"],
    absent=STUDY.absent,
    left_out=STUDY.left_out | STUDY.rivals.left_out,
    models=[*dict.fromkeys([*MODELS, *CELL_MODELS, *INSTANCES, *TRAININGS])],
    config=config,
    # The base first, then what is laid over it.
    configfiles=sorted(
        map(os.path.relpath, workflow.configfiles), key=lambda p: p != "config.yaml"
    ),
    downloads=DOWNLOADS,
    # Costs are those of every job that has run; the figures come after all of them.
    benchmark_folder=BENCH,
    # By file of rules and by rule, of all rules: so not before the last one is read.
    stages=lambda w: rules_by_stage(),
    gpus=lambda w: gpus_by_rule(),
)


rule report:
    input:
        **REPORTED,
    output:
        page=f"{R}/report/index.html",
        # Snakemake's own report shows each picture by itself.
        pictures=report(
            directory(f"{R}/report/figures"),
            patterns=["{panel}.png"],
            caption="../workflow_scripts/report/captions/panel.rst",
            category="Figures",
            labels={"panel": "{panel}"},
        ),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCH}/report.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        **REPORT,
        code=code("workflow_scripts/report/report.py"),
        partial=False,
    message:
        "Writing the report"
    script:
        "../workflow_scripts/report/report.py"


# The same page of whatever is there, at any time. Without an output it answers when it is asked.
rule partial_report:
    log:
        f"{LOGS}/partial_report.log",
    localrule: True
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        **REPORT,
        files=REPORTED,
        cohorts=COHORTS,
        folder=f"{R}/partial_report",
        partial=True,
    message:
        "Writing a report of what there is"
    script:
        "../workflow_scripts/report/partial_report.py"
