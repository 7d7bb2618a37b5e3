# Requires: store, models/<stage>, predictions/*.parquet, tables/calibration.csv, draws.csv and learning_curve.csv,
#           attention/<stage>.zarr
# Makes:    figures/<figure>.png, .pdf
#
# One rule for each figure of the run, from the registry spectrafm.figures.FIGURES.


for name in [*RUN.drawn, *RUN.drawn_alone]:

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
            ENVIRONMENT
        params:
            caption=caption(FIGURES[name].where),
            # Not in the shell text, which is read when the job runs: `name` is then the last figure.
            command=command_of(name),
        shell:
            "spectrafm {params.command:q} --output {output.png:q} > {log:q} 2>&1"


FIGURE_FILES = [
    f"{RESULTS}/figures/{name}.{kind}" for name in RUN.drawn for kind in ("png", "pdf")
]
