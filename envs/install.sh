#!/bin/sh
# Install the pinned versions, and this checkout as the package, for one Python:
#
#     envs/install.sh PYTHON [option of pip ...]
#
# envs/lock.txt holds all of them but torch, whose build depends on the machine (envs/torch.txt).
# With TORCH set, for instance to torch==2.13.0, that is what is installed, GPU or not.
set -eu
cd "$(dirname "$0")/.."
python=$1
shift

pip_install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# uv is several times faster. It knows neither pip's options nor its configuration, so that pip
# follows where uv cannot reach an index.
locked() {
    if [ $# -eq 0 ] && command -v uv >/dev/null; then
        uv pip install --quiet --compile-bytecode --python "$python" --require-hashes --no-deps \
            --requirement envs/lock.txt && return
        echo "envs/install.sh: uv could not install envs/lock.txt; pip tries" >&2
    fi
    pip_install --require-hashes --no-deps --requirement envs/lock.txt "$@"
}

# PyPI's torch for Linux is built with CUDA: right where there is a GPU, and on a cluster's login
# node, whose GPUs are elsewhere. Otherwise only a version that says `+cpu` will do: first from what
# pip is configured to use, as a mirror or a folder of wheels, then from PyTorch's own index. What it
# depends on is in the lock.
plain_torch() {
    [ "$(uname -s)" != Linux ] || nvidia-smi >/dev/null 2>&1 || command -v sbatch >/dev/null
}

torch() {
    pinned=$(grep '^torch==' envs/torch.txt)
    if [ -n "${TORCH:-}" ]; then
        pip_install "$TORCH" "$@"
    elif plain_torch; then
        pip_install "$pinned" "$@"
    else
        pip_install --no-deps "$pinned+cpu" "$@" 2>/dev/null ||
            pip_install --no-deps "$pinned+cpu" "$@" \
                --extra-index-url https://download.pytorch.org/whl/cpu || {
            echo "envs/install.sh: no $pinned without CUDA for this machine, which has no GPU" \
                "(nvidia-smi). PIP_OPTIONS can name an index that has one;" \
                "\`make TORCH=$pinned\` takes the build with CUDA, several GB." >&2
            exit 1
        }
    fi
}

locked "$@"
torch "$@"
# With the setuptools of the lock, rather than one that pip fetches for the build.
pip_install --no-deps --no-build-isolation --editable . "$@"
