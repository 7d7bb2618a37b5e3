"""
APOGEE: from the Science Archive Server (SAS) to the store.

REQUIRED INPUTS

    none; with a section `mock` in the config, mock_survey first writes the SAS tree

OUTPUTS

    catalogue/*.parquet, catalogue/*.csv, spectra/*.zarr, store.zarr of results/<run>

STEPS

    fetch_allstar -> select_stars -> fetch_spectra (one job a shard) -> build_store
                                  -> fetch_astronn (labels to compare with)
"""

from spectrafm.archive.options import Archive, CatalogueLimits, FileLimits
from spectrafm.labels import Labels
from spectrafm.surveys.apogee.options import Catalogue, Release, Shards

SOURCE = []


def survey_options(*sections):
    """Flags of those sections of options that are parts of the config's `survey`."""
    return options(RUN.survey, only=tuple(k for s in sections for k in s.model_fields))


def selection_options(wildcards):
    """Flags of `select-stars`; a function, since braces in a string would be wildcards."""
    labels = Labels(labels=RUN.labels)
    return (
        options(RUN.selection) + survey_options(Release, Shards) + options(labels)
    )


if RUN.mock is not None:
    SOURCE = RUN.survey.source

    rule mock_survey:
        """Compute the mock survey and write it as a SAS tree."""
        output:
            directory(RUN.survey.source),
        log:
            f"{RESULTS}/logs/mock_survey.log",
        benchmark:
            f"{RESULTS}/benchmarks/mock_survey.tsv"
        conda:
            "../../../envs/spectrafm.yaml"
        threads: asked("threads", "mock_survey")
        resources:
            mem_mb=asked("memory_mb", "mock_survey"),
            runtime=asked("minutes", "mock_survey"),
        params:
            options=options(RUN.mock) + survey_options(Release),
        shell:
            "spectrafm mock-survey --output {output} --processes {threads} {params.options:q}"
            " > {log} 2>&1"


rule fetch_allstar:
    """Fetch the allStar catalogue."""
    input:
        SOURCE,
    output:
        f"{RESULTS}/catalogue/allStar.fits",
    log:
        f"{RESULTS}/logs/fetch_allstar.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_allstar.tsv"
    conda:
        "../../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        options=survey_options(Archive, CatalogueLimits, Release, Catalogue),
    shell:
        "spectrafm fetch-allstar --output {output} {params.options:q} > {log} 2>&1"


rule select_stars:
    """Cut the catalogue, keep the best row of each star, divide the stars."""
    input:
        rules.fetch_allstar.output,
    output:
        selected=f"{RESULTS}/catalogue/selected.parquet",
        alternates=f"{RESULTS}/catalogue/alternates.parquet",
        cuts=f"{RESULTS}/catalogue/cuts.csv",
        flags=f"{RESULTS}/catalogue/flags.csv",
    log:
        f"{RESULTS}/logs/select_stars.log",
    localrule: True
    conda:
        "../../../envs/spectrafm.yaml"
    params:
        options=selection_options,
    shell:
        "spectrafm select-stars {input} --selected {output.selected}"
        " --alternates {output.alternates} --cuts {output.cuts} --flags {output.flags}"
        " {params.options:q}"
        " > {log} 2>&1"


rule fetch_spectra:
    """Fetch and check the spectra of one shard of the stars."""
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
        alternates=rules.select_stars.output.alternates,
    output:
        spectra=directory(f"{RESULTS}/spectra/{{shard}}.zarr"),
        missing=f"{RESULTS}/spectra/{{shard}}.missing.parquet",
    log:
        f"{RESULTS}/logs/fetch_spectra/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_spectra/{{shard}}.tsv"
    conda:
        "../../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(4000),
        runtime=growing(720),
    params:
        options=survey_options(Archive, FileLimits),
    shell:
        "spectrafm fetch-spectra --selected {input.selected} --alternates {input.alternates}"
        " --shard {wildcards.shard} --output {output.spectra} --missing {output.missing}"
        " {params.options:q} > {log} 2>&1"


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
        f"{RESULTS}/logs/build_store.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_store.tsv"
    conda:
        "../../../envs/spectrafm.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    shell:
        "spectrafm build-store --selected {input.selected} --cuts {input.cuts}"
        " --shards {input.shards} --shard-missing {input.missing} --store {output.store}"
        " --missing {output.missing} --funnel {output.funnel} > {log} 2>&1"


rule fetch_astronn:
    """Fetch astroNN's labels of the selected stars."""
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
    output:
        f"{RESULTS}/catalogue/astronn.parquet",
    log:
        f"{RESULTS}/logs/fetch_astronn.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_astronn.tsv"
    conda:
        "../../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        options=survey_options(Archive, CatalogueLimits),
    shell:
        "spectrafm fetch-astronn --selected {input.selected} --output {output}"
        " {params.options:q} > {log} 2>&1"


rule store:
    """The store, and astroNN's labels: all that needs the network."""
    input:
        rules.build_store.output,
        rules.fetch_astronn.output,
    localrule: True
