# Requires: the table of your spectra and labels (`survey.table`).
# Makes:    catalogue/*, store.zarr
#
#   table -> build_store (import-spectra)

from spectrafm.surveys.own.options import LabelColumns, Spectra


rule build_store:
    """Write the table of your spectra and labels as a store."""
    input:
        RUN.survey.table,
    output:
        store=directory(f"{RESULTS}/store.zarr"),
        selected=f"{RESULTS}/catalogue/selected.parquet",
        funnel=f"{RESULTS}/catalogue/funnel.csv",
    log:
        f"{LOGS}/import_spectra.log",
    benchmark:
        f"{BENCHMARKS}/import_spectra.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("import_spectra", gpus=0)
    resources:
        **resources_of("import_spectra", gpus=0, partition=None, account=None),
    params:
        options=literal(
            options(RUN.survey, only=[Spectra, LabelColumns])
            + options(RUN.selection, only=["split"])
        ),
    shell:
        "spectrafm import-spectra {input:q} --store {output.store:q} --selected {output.selected:q}"
        " --funnel {output.funnel:q} {params.options:q} > {log:q} 2>&1"


rule store:
    """Everything before training."""
    input:
        rules.build_store.output,
    localrule: True
