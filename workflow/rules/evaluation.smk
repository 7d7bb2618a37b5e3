# models -> predict (one job a stage and evaluation) -> collect_metrics, table1
# models -> map_attention


rule predict:
    input:
        store=rules.build_store.output.store,
        model=f"{RESULTS}/models/{{stage}}",
    output:
        f"{RESULTS}/predictions/{{stage}}--{{evaluation}}.parquet",
    log:
        f"{RESULTS}/logs/predict/{{stage}}--{{evaluation}}.log",
    conda:
        "../../envs/spectrafm.yaml"
    threads: asked("threads", "predict")
    resources:
        **asked_of_site("predict"),
        nodes=1,
        gpu=asked("gpus", "predict"),
        gpu_model=asked("gpu_model", "predict"),
        mem_mb=asked("memory_mb", "predict"),
        runtime=asked("minutes", "predict"),
    params:
        options=evaluation_options,
    shell:
        "spectrafm predict {input.model} {input.store} --name {wildcards.evaluation}"
        " --output {output} {params.options:q} > {log} 2>&1"


rule collect_metrics:
    input:
        prediction_files(RUN.predictions),
    output:
        f"{RESULTS}/metrics.json",
    log:
        f"{RESULTS}/logs/collect_metrics.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    shell:
        "spectrafm collect-metrics {input} --output {output} > {log} 2>&1"


rule table1:
    input:
        predictions=prediction_files(RUN.figures.table1),
        astronn=rules.fetch_astronn.output,
    output:
        csv=f"{RESULTS}/tables/table1.csv",
        md=f"{RESULTS}/tables/table1.md",
        tex=f"{RESULTS}/tables/table1.tex",
    log:
        f"{RESULTS}/logs/table1.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        logg=RUN.figures.table1_logg,
    shell:
        "spectrafm table1 {input.predictions} --astronn {input.astronn} --logg {params.logg}"
        " --output {output.csv} > {log} 2>&1"


rule map_attention:
    input:
        store=rules.build_store.output.store,
        model=f"{RESULTS}/models/{RUN.attention.stage}",
    output:
        directory(f"{RESULTS}/attention/{RUN.attention.stage}.zarr"),
    log:
        f"{RESULTS}/logs/map_attention.log",
    conda:
        "../../envs/spectrafm.yaml"
    threads: asked("threads", "map_attention")
    resources:
        **asked_of_site("map_attention"),
        nodes=1,
        gpu=asked("gpus", "map_attention"),
        gpu_model=asked("gpu_model", "map_attention"),
        mem_mb=asked("memory_mb", "map_attention"),
        runtime=asked("minutes", "map_attention"),
    params:
        options=options(
            RUN.attention,
            only=("spectra", "windows", "flux_range", "split", "stars"),
        ),
    shell:
        "spectrafm map-attention {input.model} {input.store} --output {output}"
        " {params.options:q} > {log} 2>&1"


rule attention:
    input:
        rules.map_attention.output,
    localrule: True
