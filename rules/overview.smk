# What the study is made of: panels, sizes, colours and label maps of the cohorts as ingested.
CHANNEL_TABLES = expand(f"{R}/cohorts/{{cohort}}/imc/channels.parquet", cohort=COHORTS)
SIZE_TABLES = expand(
    f"{R}/cohorts/{{cohort}}/{{table}}.parquet",
    cohort=COHORTS,
    table=["metadata/tissues", "metadata/cells", "sub_images"],
)

# The paper's totals are those of its fifteen cohorts, and of no other.
COLLECTION = dict(
    compared=COMPARED, missing=len(list(Path("cohorts").glob("*.yaml"))) - len(COMPARED)
)


rule fig1b:
    input:
        channels=CHANNEL_TABLES,
        markers="resources/markers.csv",
        cards=[STUDY.cohorts[cohort].path for cohort in COHORTS],
    output:
        numbers=f"{R}/figures/fig1b/numbers.json",
    log:
        f"{LOGS}/figures/fig1b.log",
    benchmark:
        f"{BENCH}/figures/fig1b.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        **COLLECTION,
        code=code("workflow_scripts/overview/fig1b.py"),
        target=TARGETS["fig1b"],
        held_out=STUDY.held_out,
        without_nucleus=STUDY.rivals.without_nucleus,
        simulated=config["simulated"],
    message:
        "Drawing fig1b"
    script:
        "../workflow_scripts/overview/fig1b.py"


rule fig1c:
    input:
        SIZE_TABLES,
    output:
        numbers=f"{R}/figures/fig1c/numbers.json",
    log:
        f"{LOGS}/figures/fig1c.log",
    benchmark:
        f"{BENCH}/figures/fig1c.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        **COLLECTION,
        code=code("workflow_scripts/overview/fig1c.py"),
        target=TARGETS["fig1c"],
        cohort_folders=[cohort_folder(cohort) for cohort in COHORTS],
        simulated=config["simulated"],
    message:
        "Drawing fig1c"
    script:
        "../workflow_scripts/overview/fig1c.py"


rule figS1:
    output:
        numbers=f"{R}/figures/figS1/numbers.json",
    log:
        f"{LOGS}/figures/figS1.log",
    benchmark:
        f"{BENCH}/figures/figS1.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/overview/figS1.py"),
        target=TARGETS["figS1"],
        cohorts=COHORTS,
        simulated=config["simulated"],
    message:
        "Drawing figS1"
    script:
        "../workflow_scripts/overview/figS1.py"


rule tableS1:
    input:
        SIZE_TABLES,
        cards=[STUDY.cohorts[cohort].path for cohort in COHORTS],
    output:
        numbers=f"{R}/figures/tableS1/numbers.json",
    log:
        f"{LOGS}/figures/tableS1.log",
    benchmark:
        f"{BENCH}/figures/tableS1.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/overview/tableS1.py"),
        target=TARGETS["tableS1"],
        absent=STUDY.absent,
        cohort_folders=[cohort_folder(cohort) for cohort in COHORTS],
        simulated=config["simulated"],
    message:
        "Writing tableS1"
    script:
        "../workflow_scripts/overview/tableS1.py"


rule tableS2:
    input:
        channels=CHANNEL_TABLES,
        markers="resources/markers.csv",
    output:
        numbers=f"{R}/figures/tableS2/numbers.json",
    log:
        f"{LOGS}/figures/tableS2.log",
    benchmark:
        f"{BENCH}/figures/tableS2.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/overview/tableS2.py"),
        target=TARGETS["tableS2"],
        simulated=config["simulated"],
    message:
        "Writing tableS2"
    script:
        "../workflow_scripts/overview/tableS2.py"


# One table of classes per benchmark cohort; they differ in nothing but the cohort.
LABEL_MAPS = {
    "tableS3": "danenberg2022",
    "tableS4": "hoch2022",
    "tableS5": "wang2023",
    "tableS6": "rigamonti",
}

LABEL_MAP_FILES = {table: label_map_files(cohort) for table, cohort in LABEL_MAPS.items()}


rule label_maps:
    input:
        [path for files in LABEL_MAP_FILES.values() for path in files.values()],
    output:
        numbers=[f"{R}/figures/{table}/numbers.json" for table in LABEL_MAPS],
    log:
        f"{LOGS}/label_maps.log",
    benchmark:
        f"{BENCH}/label_maps.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/overview/label_maps.py"),
        targets=[TARGETS[table] for table in LABEL_MAPS],
        cohorts=LABEL_MAPS,
        files=LABEL_MAP_FILES,
        simulated=config["simulated"],
    message:
        "Writing the tables of label maps"
    script:
        "../workflow_scripts/overview/label_maps.py"


for table in LABEL_MAPS:

    rule:
        name:
            table
        input:
            f"{R}/figures/{table}/numbers.json",
        localrule: True
