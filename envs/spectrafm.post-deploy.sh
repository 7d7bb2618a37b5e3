#!/bin/sh
# Snakemake runs a copy of this file in the new environment, in the folder where Snakemake started.
set -eu
if [ ! -x envs/install.sh ]; then
    echo "start snakemake in SpectraFM's repository: the package is installed from there" >&2
    exit 1
fi
envs/install.sh "$(command -v python)"
