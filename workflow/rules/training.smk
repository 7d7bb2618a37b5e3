# store -> train (one job a stage, each from the model that its start_from names) -> models
# `exec`: the training itself receives the signal of a time limit, a preemption or a cancellation.
# A new stage is a new entry under `stages` in the config; its name is a target.


rule train:
    input:
        store=rules.build_store.output.store,
        start=model_of_start,
    output:
        directory(f"{RESULTS}/models/{{stage}}"),
    log:
        f"{RESULTS}/logs/train/{{stage}}.log",
    conda:
        "../../envs/spectrafm.yaml"
    threads: asked("threads")
    resources:
        **asked_of_site(),
        nodes=1,
        gpu=asked("gpus"),
        gpu_model=asked("gpu_model"),
        mem_mb=asked("memory_mb"),
        runtime=asked("minutes"),
    params:
        launcher=launcher,
        start=start_flag,
        options=stage_options,
        resume=resume_option,
        checkpoints=f"{RESULTS}/checkpoints",
    shell:
        "exec {params.launcher} train {input.store} --name {wildcards.stage} --output {output}"
        " --checkpoints {params.checkpoints} {params.start} {params.options:q}"
        " {params.resume} > {log} 2>&1"


for stage in RUN.stages:

    rule:
        name:
            stage
        input:
            f"{RESULTS}/models/{stage}",
        localrule: True
