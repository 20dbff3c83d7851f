"""Which markers a model met in pretraining, by accession (Methods, "Zero-shot inference")."""

from workflow_scripts.common.cohort_files import CohortFiles


def seen_accessions(folders):
    """Return the accessions that the cohorts in `folders` measure."""
    return {accession for folder in folders for accession in CohortFiles(folder).accessions()}


def accessions_of_genes(table):
    """Return gene name -> accessions from the marker table; one gene may have isoforms."""
    proteins = table.dropna(subset=["gene", "uniprot"])
    return proteins.groupby("gene")["uniprot"].agg(lambda ids: sorted(set(ids))).to_dict()
