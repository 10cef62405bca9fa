#!/bin/sh
# Writes the pinned and hashed requirements of the images, from setup.cfg and constraints.txt:
#   pip install uv && docker/lock.sh [--upgrade]
# Run it after a change of either file; tests/repository/test_docker.py checks that they agree.
set -eu
cd "$(dirname "$0")/.."

lock() {
    out=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --constraint constraints.txt --custom-compile-command docker/lock.sh \
        --output-file "$out" "$@"
}

lock docker/requirements-build.txt docker/requirements.in "$@"
lock docker/requirements-serve.txt setup.cfg --extra serve --extra report "$@"

# torch is installed before these, from the index of its build (CPU or CUDA), with the parts of that
# build: the CUDA libraries of PyPI's build must not get into a CPU image.
cuda=$(uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
    --constraint constraints.txt setup.cfg --extra train |
    sed -n 's/^\(\(nvidia\|cuda\|triton\)[a-z0-9-]*\).*/--no-emit-package=\1/p')
# shellcheck disable=SC2086  # one option a word
lock docker/requirements-train.txt setup.cfg --extra serve --extra report --extra train \
    --no-emit-package=torch $cuda "$@"
