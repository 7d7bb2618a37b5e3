# Requires: a SAS: https://data.sdss.org/sas, a mirror or a folder. With `mock` in the config, the rule
#           mock_survey writes it.
# Makes:    catalogue/*, spectra/NNN.zarr, store.zarr
#
#   SAS -> fetch_allstar -> select_stars -> fetch_spectra (one job per shard) -> build_store
#       -> fetch_astronn (labels for comparison)

from spectrafm.archive.options import (
    Archive,
    CatalogueLimits,
    Completeness,
    FileLimits,
    Judgement,
)
from spectrafm.surveys.apogee.options import Catalogue, Release, Shards

SOURCE = RUN.survey.source if RUN.mock is not None else []
SHARDS = [f"{number:03d}" for number in range(RUN.survey.shards)]


SELECTION = (
    options(RUN.selection)
    + options(RUN.survey, only=[Release, Shards])
    + options(RUN, only=[Labels])
)

if RUN.mock is not None:

    rule mock_survey:
        """Write the mock survey as a SAS tree."""
        output:
            directory(RUN.survey.source),
        log:
            f"{LOGS}/mock_survey.log",
        benchmark:
            f"{BENCHMARKS}/mock_survey.tsv"
        conda:
            ENVIRONMENT
        threads: threads_of("mock_survey", gpus=0)
        resources:
            **resources_of("mock_survey", gpus=0, partition=None, account=None),
        params:
            options=literal(options(RUN.mock) + options(RUN.survey, only=[Release])),
        shell:
            "spectrafm mock-survey --output={output:q} --processes {threads:q} {params.options:q}"
            " > {log:q} 2>&1"


rule fetch_allstar:
    """Fetch the allStar catalogue."""
    input:
        SOURCE,
    output:
        f"{RESULTS}/catalogue/allStar.fits",
    log:
        f"{LOGS}/fetch_allstar.log",
    benchmark:
        f"{BENCHMARKS}/fetch_allstar.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("fetch_allstar", **small("2GB", "4h"))
    resources:
        **resources_of("fetch_allstar", **small("2GB", "4h")),
        downloads=1,
    params:
        options=literal(
            options(RUN.survey, only=[Archive, CatalogueLimits, Release, Catalogue])
        ),
    shell:
        "spectrafm fetch-allstar --output {output:q} {params.options:q} > {log:q} 2>&1"


rule select_stars:
    """Select stars from the catalogue, split them and divide them into shards."""
    input:
        rules.fetch_allstar.output,
    output:
        selected=f"{RESULTS}/catalogue/selected.parquet",
        alternates=f"{RESULTS}/catalogue/alternates.parquet",
        cuts=f"{RESULTS}/catalogue/cuts.csv",
        flags=f"{RESULTS}/catalogue/flags.csv",
    log:
        f"{LOGS}/select_stars.log",
    benchmark:
        f"{BENCHMARKS}/select_stars.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        options=literal(SELECTION),
    shell:
        "spectrafm select-stars {input:q} --selected {output.selected:q}"
        " --alternates {output.alternates:q} --cuts {output.cuts:q} --flags {output.flags:q}"
        " {params.options:q}"
        " > {log:q} 2>&1"


rule fetch_spectra:
    """Fetch the spectra of one shard of the selected stars."""
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
        alternates=rules.select_stars.output.alternates,
    output:
        spectra=directory(f"{RESULTS}/spectra/{{shard}}.zarr"),
        missing=f"{RESULTS}/spectra/{{shard}}.missing.parquet",
    log:
        f"{LOGS}/fetch_spectra/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_spectra/{{shard}}.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("fetch_spectra", **small("4GB", "12h"))
    resources:
        **resources_of("fetch_spectra", **small("4GB", "12h")),
        downloads=1,
    params:
        options=literal(options(RUN.survey, only=[Archive, FileLimits, Judgement])),
    shell:
        "spectrafm fetch-spectra --selected {input.selected:q} --alternates {input.alternates:q}"
        " --shard {wildcards.shard:q} --output {output.spectra:q} --missing {output.missing:q}"
        " {params.options:q} > {log:q} 2>&1"


rule build_store:
    """Join the shards to one store."""
    input:
        selected=rules.select_stars.output.selected,
        cuts=rules.select_stars.output.cuts,
        shards=expand(rules.fetch_spectra.output.spectra, shard=SHARDS),
        missing=expand(rules.fetch_spectra.output.missing, shard=SHARDS),
    output:
        store=directory(f"{RESULTS}/store.zarr"),
        missing=f"{RESULTS}/catalogue/missing.parquet",
        funnel=f"{RESULTS}/catalogue/funnel.csv",
    log:
        f"{LOGS}/build_store.log",
    benchmark:
        f"{BENCHMARKS}/build_store.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("build_store", **small("8GB", "2h"))
    resources:
        **resources_of("build_store", **small("8GB", "2h")),
    params:
        options=literal(options(RUN.survey, only=[Completeness])),
    shell:
        "spectrafm build-store --selected {input.selected:q} --cuts {input.cuts:q}"
        " --shards {input.shards:q} --shard-missing {input.missing:q} --store {output.store:q}"
        " --missing {output.missing:q} --funnel {output.funnel:q} {params.options:q} > {log:q} 2>&1"


rule fetch_astronn:
    """Fetch astroNN's labels of the selected stars, for comparison."""
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
    output:
        f"{RESULTS}/catalogue/astronn.parquet",
    log:
        f"{LOGS}/fetch_astronn.log",
    benchmark:
        f"{BENCHMARKS}/fetch_astronn.tsv"
    conda:
        ENVIRONMENT
    threads: threads_of("fetch_astronn", **small("4GB", "4h"))
    resources:
        **resources_of("fetch_astronn", **small("4GB", "4h")),
        downloads=1,
    params:
        options=literal(options(RUN.survey, only=[Archive, CatalogueLimits])),
    shell:
        "spectrafm fetch-astronn --selected {input.selected:q} --output {output:q}"
        " {params.options:q} > {log:q} 2>&1"


rule store:
    """Everything that needs network access: the store and astroNN's labels."""
    input:
        rules.build_store.output,
        rules.fetch_astronn.output,
    localrule: True
