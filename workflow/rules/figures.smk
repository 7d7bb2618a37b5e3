# Requires: store, models/<stage>, predictions/*.parquet, attention/<stage>.zarr
# Makes:    figures/<figure>.png, .pdf
#
# One rule for each figure in spectrafm.figures.FIGURES, by what it shows.


# How its command is told.
ARGUMENTS = {
    "star": "{input.store} {params.star:q}",
    "models": "{input.store} {input.models} {params.star:q}",
    "prediction": "{input.prediction}",
    "predictions": "--predictions {input.predictions} --models {input.models}",
    "attention": "{input.attention}",
}
STAR = [f"--star={RUN.figures.star}"] if RUN.figures.star else []

for name in RUN.drawn:

    rule:
        """Draw one figure."""
        name:
            name
        input:
            **shown_in(name),
        output:
            png=report(
                f"{RESULTS}/figures/{name}.png",
                caption="../report/output.rst",
                category="Figures",
                labels={"figure": name},
            ),
            pdf=f"{RESULTS}/figures/{name}.pdf",
        log:
            f"{LOGS}/{name}.log",
        benchmark:
            f"{BENCHMARKS}/{name}.tsv"
        localrule: True
        conda:
            "../../envs/spectrafm.yaml"
        params:
            caption=caption_of(FIGURES[name].where),
            star=STAR if FIGURES[name].shows in ("star", "models") else [],
        shell:
            f"spectrafm {name} {ARGUMENTS[FIGURES[name].shows]}"
            " --output {output.png} > {log} 2>&1"


FIGURE_FILES = [
    f"{RESULTS}/figures/{name}.{kind}" for name in RUN.drawn for kind in ("png", "pdf")
]
