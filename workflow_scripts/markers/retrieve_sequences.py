"""Bring together the protein sequences of all measured markers in one FASTA file."""

import hashlib
from pathlib import Path

import numpy as np
import requests
from urllib3.util.retry import Retry

from workflow_scripts.common.access import check_address
from workflow_scripts.common.accession import ACCESSION
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.staging import staged
from workflow_scripts.common.transfer import Session
from workflow_scripts.markers.fasta import format_record, parse_fasta
from workflow_scripts.markers.genes import check_genes
from workflow_scripts.markers.measured import measured_accessions

USER_AGENT = "virtues-study/0.1 (python-requests)"
TRIES = 5
BUSY = (429, 500, 502, 503, 504)  # answers that may differ a moment later

# Shares of residues in human proteins, rounded. Each synthetic protein has its own composition
# around them; this concentration gives embeddings of a seeded ESM-2 about the spread of cosines
# that real embeddings of a marker panel have (median near 0.9).
COMPOSITION = {
    "A": 70, "R": 56, "N": 36, "D": 47, "C": 23, "Q": 48, "E": 71, "G": 66, "H": 26, "I": 43,
    "L": 100, "K": 57, "M": 21, "F": 36, "P": 63, "S": 83, "T": 54, "W": 12, "Y": 27, "V": 60,
}  # fmt: skip
CONCENTRATION = 200
LENGTHS = (100, 400)  # residues


def synthetic_sequence(accession, seed):
    """Return a protein-like random sequence that depends on accession and seed alone."""
    digest = hashlib.sha256(f"{seed}:{accession}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    shares = np.array(list(COMPOSITION.values()), float)
    shares = rng.dirichlet(CONCENTRATION * shares / shares.sum())
    length = rng.integers(*LENGTHS, endpoint=True)
    return "".join(rng.choice(list(COMPOSITION), size=length, p=shares))


def sequences_from_file(path, cohorts):
    """Return {accession: (description, sequence)} for `cohorts` from the FASTA file at `path`."""
    records = parse_fasta(Path(path).read_text(errors="replace"), path)
    missing = [accession for accession in cohorts if accession not in records]
    if missing:
        raise InputError(
            f"{path}: no sequence of {_named(missing, cohorts)}; expected one of every measured "
            "marker; add the records, or leave `uniprot` empty for these channels"
        )
    name = Path(path).name
    return {a: (f"[{name}] {records[a][0]}".rstrip(), records[a][1]) for a in cohorts}


def sequences_from_uniprot(cohorts, url, cache, offline, backoff=1.0):
    """Return {accession: (description, sequence)} for `cohorts` from UniProt or from `cache`.

    Each record is kept in `cache` as soon as it is there, so an interrupted run goes on where it
    stopped. The description begins with UniProt's release. `backoff`: seconds before the second
    retry of a busy server, doubled at each further one.
    """
    for accession in cohorts:
        if not ACCESSION.fullmatch(accession):
            raise InputError(
                f"{_named([accession], cohorts)} is not a UniProt accession; expected a form like "
                "P04637 or P08575-8; correct `uniprot` in the cohort file"
            )
    cache = Path(cache)
    missing = [a for a in cohorts if not (cache / f"{a}.fasta").exists()]
    if missing and offline:
        raise InputError(
            f"offline: no sequence of {_named(missing, cohorts)}; expected each as "
            f"{cache}/<accession>.fasta, or all in one FASTA file that `markers.sequences` names; "
            f"get them elsewhere from {url}/<accession>.fasta"
        )
    check_address(url, "markers.uniprot_url")
    with Session() as session:
        session.headers["User-Agent"] = USER_AGENT
        retry = Retry(TRIES, status_forcelist=BUSY, backoff_factor=backoff, raise_on_status=False)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
        for accession in missing:
            description, sequence = _fetch(session, url, accession, cohorts[accession])
            with staged(cache / f"{accession}.fasta") as [part]:
                part.write_text(format_record(accession, description, sequence))
    log.info(
        "%d sequences from %s, %d were in %s", len(missing), url, len(cohorts) - len(missing), cache
    )
    return {a: _only_record(cache / f"{a}.fasta", a) for a in cohorts}


def _fetch(session, url, accession, cohorts):
    measured = f"{accession} (cohorts: {', '.join(cohorts)})"
    address = f"{url}/{accession}.fasta"
    try:
        answer = session.get(address, timeout=60)
    except requests.RequestException as error:
        raise InputError(
            f"{address}: no answer for {measured} ({error}); expected a FASTA record; "
            "run again later, what was received is kept"
        ) from None
    if answer.status_code in (400, 404, 410) or (answer.ok and not answer.text.strip()):
        raise InputError(
            f"{address}: UniProt has no sequence of {measured} (status {answer.status_code}); "
            "expected a current accession; correct `uniprot` in the cohort file"
        )
    if not answer.ok:
        raise InputError(
            f"{address}: status {answer.status_code} for {measured} after {TRIES + 1} tries; "
            "expected a FASTA record; run again later, what was received is kept"
        )
    records = parse_fasta(answer.text, address)
    if len(records) != 1:
        raise InputError(
            f"{address}: {len(records)} records for {measured}; expected one; "
            "check `markers.uniprot_url`"
        )
    [(current, (header, sequence))] = records.items()
    if current != accession:
        log.warning("%s: UniProt answers with %s", accession, current)
    release = answer.headers.get("X-UniProt-Release", "of unknown release")
    return f"[UniProt {release}] {header}", sequence


def _only_record(path, accession):
    records = parse_fasta(path.read_text(errors="replace"), path)
    if list(records) != [accession]:
        raise InputError(
            f"{path}: holds {', '.join(records) or 'nothing'}; expected one record, "
            f"{accession}; remove the file or correct it"
        )
    description, sequence = records[accession]
    if not description.startswith("["):
        description = f"[placed by hand] {description}"
    return description, sequence


def _named(accessions, cohorts):
    where = sorted({cohort for accession in accessions for cohort in cohorts[accession]})
    return f"{', '.join(accessions)} (cohorts: {', '.join(where)})"


def main(snakemake):
    """Write one record per measured accession, in sorted order."""
    params = snakemake.params
    cohorts = measured_accessions(snakemake.input.channels)
    log.info("%d accessions in %d cohorts", len(cohorts), len(snakemake.input.channels))
    if params.sequences == "synthetic":
        description = f"[synthetic, seed {params.seed}] random residues, not a protein"
        records = {a: (description, synthetic_sequence(a, params.seed)) for a in cohorts}
    elif params.sequences == "uniprot":
        records = sequences_from_uniprot(
            cohorts, params.uniprot_url.rstrip("/"), params.cache, snakemake.config["offline"]
        )
    else:
        records = sequences_from_file(params.sequences, cohorts)
    check_genes(records, read_aliases().values())
    with staged(snakemake.output.sequences) as [part]:
        part.write_text("".join(format_record(a, *record) for a, record in records.items()))
    lengths = [len(sequence) for _, sequence in records.values()]
    log.info("%d sequences of %d to %d residues", len(lengths), min(lengths), max(lengths))


if __name__ == "__main__":
    run(main, globals())
