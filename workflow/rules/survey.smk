# SAS -> fetch_allstar -> select_stars -> fetch_spectra (one job a shard) -> build_store
#     -> fetch_astronn (labels to compare with)
# With a `mock` section in the config, mock_survey first writes the SAS tree.

SOURCE = []

# How files are asked for; and what bounds a spectrum, and a catalogue.
FETCHING = ("source", "keep", "tries", "first_wait", "stall_seconds", "minimum_rate")
FILE = ("file_seconds", "file_megabytes")
CATALOGUE = ("catalogue_seconds", "catalogue_megabytes")

if RUN.mock is not None:
    SOURCE = RUN.survey.source

    rule mock_survey:
        output:
            directory(RUN.survey.source),
        log:
            f"{RESULTS}/logs/mock_survey.log",
        conda:
            "../../envs/spectrafm.yaml"
        threads: asked("threads", "mock_survey")
        resources:
            mem_mb=asked("memory_mb", "mock_survey"),
            runtime=asked("minutes", "mock_survey"),
        params:
            options=options(RUN.mock)
            + options(RUN.survey, prefix="survey.", only=("release", "aspcap")),
        shell:
            "spectrafm mock-survey --output {output} --processes {threads} {params.options:q}"
            " > {log} 2>&1"


rule fetch_allstar:
    input:
        SOURCE,
    output:
        f"{RESULTS}/catalogue/allStar.fits",
    log:
        f"{RESULTS}/logs/fetch_allstar.log",
    conda:
        "../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        options=options(
            RUN.survey,
            only=(
                *FETCHING,
                *CATALOGUE,
                "release",
                "aspcap",
                "catalogue",
                "allstar_sha1",
            ),
        ),
    shell:
        "spectrafm fetch-allstar --output {output} {params.options:q} > {log} 2>&1"


rule select_stars:
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
        "../../envs/spectrafm.yaml"
    params:
        options=options(RUN.selection)
        + options(RUN.survey, prefix="survey.", only=("release", "aspcap", "shards")),
    shell:
        "spectrafm select-stars {input} --selected {output.selected}"
        " --alternates {output.alternates} --cuts {output.cuts} --flags {output.flags}"
        " {params.options:q}"
        " > {log} 2>&1"


rule fetch_spectra:
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
        alternates=rules.select_stars.output.alternates,
    output:
        spectra=directory(f"{RESULTS}/spectra/{{shard}}.zarr"),
        missing=f"{RESULTS}/spectra/{{shard}}.missing.parquet",
    log:
        f"{RESULTS}/logs/fetch_spectra/{{shard}}.log",
    conda:
        "../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(4000),
        runtime=growing(720),
    params:
        options=options(
            RUN.survey,
            only=(*FETCHING, *FILE, "release", "aspcap", "connections", "flux_range"),
        ),
    shell:
        "spectrafm fetch-spectra --selected {input.selected} --alternates {input.alternates}"
        " --shard {wildcards.shard} --output {output.spectra} --missing {output.missing}"
        " {params.options:q} > {log} 2>&1"


rule build_store:
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
    conda:
        "../../envs/spectrafm.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    shell:
        "spectrafm build-store --selected {input.selected} --cuts {input.cuts}"
        " --shards {input.shards} --shard-missing {input.missing} --store {output.store}"
        " --missing {output.missing} --funnel {output.funnel} > {log} 2>&1"


rule fetch_astronn:
    input:
        SOURCE,
        selected=rules.select_stars.output.selected,
    output:
        f"{RESULTS}/catalogue/astronn.parquet",
    log:
        f"{RESULTS}/logs/fetch_astronn.log",
    conda:
        "../../envs/spectrafm.yaml"
    resources:
        downloads=1,
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        options=options(RUN.survey, only=(*FETCHING, *CATALOGUE, "release")),
    shell:
        "spectrafm fetch-astronn --selected {input.selected} --output {output}"
        " {params.options:q} > {log} 2>&1"


# All that the network is needed for.
rule store:
    input:
        rules.build_store.output,
        rules.fetch_astronn.output,
    localrule: True
