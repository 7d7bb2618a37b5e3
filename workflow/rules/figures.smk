# store, models, predictions, attention -> figure1 ... figure5 -> report
# verify checks every file that the run holds, made whenever it is asked for


rule figure1:
    input:
        rules.build_store.output.store,
    output:
        png=f"{RESULTS}/figures/figure1.png",
        pdf=f"{RESULTS}/figures/figure1.pdf",
    log:
        f"{RESULTS}/logs/figure1.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        star=STAR,
    shell:
        "spectrafm figure1 {input} --output {output.png} {params.star:q} > {log} 2>&1"


rule figure2:
    input:
        store=rules.build_store.output.store,
        models=expand(f"{RESULTS}/models/{{stage}}", stage=RUN.figures.figure2),
    output:
        png=f"{RESULTS}/figures/figure2.png",
        pdf=f"{RESULTS}/figures/figure2.pdf",
    log:
        f"{RESULTS}/logs/figure2.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        star=STAR,
    shell:
        "spectrafm figure2 {input.store} {input.models} --output {output.png} {params.star:q}"
        " > {log} 2>&1"


rule figure3:
    input:
        prediction_files([RUN.figures.figure3]),
    output:
        png=f"{RESULTS}/figures/figure3.png",
        pdf=f"{RESULTS}/figures/figure3.pdf",
    log:
        f"{RESULTS}/logs/figure3.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    shell:
        "spectrafm figure3 {input} --output {output.png} > {log} 2>&1"


rule figure4:
    input:
        predictions=prediction_files(RUN.figures.figure4),
        models=models_of(RUN.figures.figure4),
    output:
        png=f"{RESULTS}/figures/figure4.png",
        pdf=f"{RESULTS}/figures/figure4.pdf",
    log:
        f"{RESULTS}/logs/figure4.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    shell:
        "spectrafm figure4 --predictions {input.predictions} --models {input.models}"
        " --output {output.png} > {log} 2>&1"


rule figure5:
    input:
        rules.map_attention.output,
    output:
        png=f"{RESULTS}/figures/figure5.png",
        pdf=f"{RESULTS}/figures/figure5.pdf",
    log:
        f"{RESULTS}/logs/figure5.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    shell:
        "spectrafm figure5 {input} --output {output.png} > {log} 2>&1"


rule report:
    input:
        rules.build_store.output,
        rules.collect_metrics.output,
        rules.table1.output,
        rules.figure1.output,
        rules.figure2.output,
        rules.figure3.output,
        rules.figure4.output,
        rules.figure5.output,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    shell:
        "spectrafm report {output} > {log} 2>&1"


rule verify:
    log:
        f"{RESULTS}/logs/verify.log",
    localrule: True
    conda:
        "../../envs/spectrafm.yaml"
    params:
        run=RESULTS,
    shell:
        "spectrafm verify {params.run} 2>&1 | tee {log}"
