#!/bin/sh
# Install the pinned dependencies and this checkout, editable, for one Python:
#
#     envs/install.sh PYTHON [option of pip ...]
#
# envs/lock.txt pins all dependencies except torch, whose build depends on the machine
# (envs/torch.txt). If TORCH is set, for instance to torch==2.13.0, that version is installed, with or
# without a GPU.
set -eu
cd "$(dirname "$0")/.."
python=$1
shift

pip_install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# uv is several times faster than pip, but ignores pip's options and configuration. pip is used if
# options are given, if uv is missing, or if uv fails, for instance without access to an index.
locked() {
    if [ $# -eq 0 ] && command -v uv >/dev/null; then
        uv pip install --quiet --compile-bytecode --python "$python" --require-hashes --no-deps \
            --requirement envs/lock.txt && return
        echo "envs/install.sh: uv could not install envs/lock.txt; trying pip" >&2
    fi
    pip_install --require-hashes --no-deps --requirement envs/lock.txt "$@"
}

# PyPI's torch for Linux is built with CUDA, which suits machines with a GPU and login nodes of a
# cluster. Other Linux machines need a version `+cpu`: first from the index or folder of wheels that
# pip is configured to use, then from PyTorch's own index. Its dependencies are in the lock.
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
# --no-build-isolation builds with the setuptools of the lock instead of one that pip fetches.
pip_install --no-deps --no-build-isolation --editable . "$@"
