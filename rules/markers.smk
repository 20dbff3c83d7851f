# Marker tokens: sequences of all measured proteins, and their ESM-2 embeddings.
PANELS = expand(f"{R}/ingest/{{cohort}}/channels.parquet", cohort=COHORTS)
SEQUENCES = config["markers"]["sequences"]  # uniprot | synthetic | path of a FASTA file
ESM2_URL = config["markers"]["esm2"]["weights"].startswith("https://")
ESM2_FILE = f"{config['archives']}/esm2/{Path(config['markers']['esm2']['weights']).name}"


localrules:
    retrieve_sequences,
    retrieve_esm2,


rule retrieve_sequences:
    input:
        channels=PANELS,
        fasta=[] if SEQUENCES in ("uniprot", "synthetic") else SEQUENCES,
    output:
        sequences=f"{R}/markers/sequences.fasta",
    log:
        f"{LOGS}/retrieve_sequences.log",
    benchmark:
        f"{BENCH}/retrieve_sequences.tsv"
    resources:
        downloads=1,
        mem_mb=megabytes(1000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/markers/retrieve_sequences.py"),
        sequences=SEQUENCES,
        uniprot_url=config["markers"]["uniprot_url"],
        seed=config["markers"]["esm2"]["seed"],
        cache=f"{config['archives']}/uniprot",
    message:
        "Retrieving the sequences of all markers"
    script:
        "../workflow_scripts/markers/retrieve_sequences.py"


rule retrieve_esm2:
    output:
        weights=ESM2_FILE,
    log:
        f"{LOGS}/retrieve_esm2.log",
    benchmark:
        f"{BENCH}/retrieve_esm2.tsv"
    resources:
        downloads=1,
        mem_mb=megabytes(1000),
        runtime=minutes(120),
    params:
        url=config["markers"]["esm2"]["weights"],
    message:
        "Retrieving the weights of ESM-2"
    script:
        "../workflow_scripts/markers/retrieve_esm2.py"


rule embed_markers:
    input:
        unpack(marker_sources),
        channels=PANELS,
    output:
        embeddings=f"{R}/markers/embeddings.safetensors",
    log:
        f"{LOGS}/embed_markers.log",
    benchmark:
        f"{BENCH}/embed_markers.tsv"
    threads: config["embed"]["threads"]
    resources:
        mem_mb=megabytes(8000),
        runtime=minutes(120),
    params:
        code=code("workflow_scripts/markers/embed_markers.py"),
        source=config["markers"]["source"],
        esm2=config["markers"]["esm2"],
        cache=f"{config['archives']}/esm2/embeddings",
    message:
        "Embedding the markers"
    script:
        "../workflow_scripts/markers/embed_markers.py"
