#!/bin/sh
# Refresh the lock files: versions and hashes only, for every supported Python and both architectures.
# Usage: scripts/lock.sh   (needs uv; run after changing pyproject.toml)
set -eu
cd "$(dirname "$0")/.."
compile() {
    out=$1; shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --no-annotate "$@" -o "$out" pyproject.toml
}
# The largest first: what everything together can have is what each part gets.
compile requirements-dev.lock --extra dev
compile requirements.lock --extra embedded --extra analysis --extra policy -c requirements-dev.lock
# The workbench image: no local platform in it, but object storage for the results of its jobs, and the server in
# front of a cluster's own git repository.
echo gunicorn | compile requirements-workbench.lock --extra analysis --extra storage -c requirements-dev.lock -
compile requirements-lab.lock --extra lab --extra embedded --extra analysis --extra policy -c requirements.lock
# The scanners, on their own: they share no environment with the product, so no constraint either.
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
    --no-emit-find-links --no-annotate requirements-scan.in -o requirements-scan.lock
# What installs the rest: pinned and hashed like everything else.
printf 'uv==0.13.9\nsetuptools>=77\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-emit-index-url --no-emit-find-links --no-annotate - -o scripts/setup.lock
