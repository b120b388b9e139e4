#!/bin/sh
# Make the virtual environment and put the locked packages in it, every one checked against its hash.
# Usage: scripts/setup.sh runtime|dev|lab|scan   (make does this; a second run has nothing to do)
#   runtime  what the platform and the runbooks need        -> .venv
#   dev      the same and the tools of the tests            -> .venv
#   lab      JupyterLab, apart: it slows every start-up     -> .venv-lab
#   scan     the scanners of `make scan`, apart: old pins   -> .venv-scan
set -eu
cd "$(dirname "$0")/.."
kind=${1:-runtime}

say() { printf '%s\n' "$*" >&2; }
refuse() { say "setup: $1"; say "  next step: $2"; exit 2; }

[ "$(uname -s)" = Linux ] ||
    refuse "this is $(uname -s); the embedded platform needs Linux on x86-64 or arm64" \
           "use a Linux machine, or a k3d cluster with provider k3d"
command -v git >/dev/null || refuse "git is not on PATH" "install git from your distribution"

# A name on PATH may be a shim that fails when called, so each candidate has to answer.
python=
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || refuse "no Python 3.11 or newer on PATH" "install python3.11, or set PYTHON to one"

case $kind in
    runtime) venv=.venv lock=requirements.lock extra=embedded,analysis,policy ;;
    dev)     venv=.venv lock=requirements-dev.lock extra=dev ;;
    lab)     venv=.venv-lab lock=requirements-lab.lock extra=lab ;;
    scan)    venv=.venv-scan lock=requirements-scan.lock extra= ;;
    *)       refuse "unknown kind '$kind'" "use runtime, dev, lab or scan" ;;
esac

if [ ! -x "$venv/bin/python" ]; then
    say "setup: making $venv with $("$python" --version)"
    "$python" -m venv "$venv" ||
        { rm -rf "$venv"; refuse "$python cannot make virtual environments" "install python3-venv"; }
fi

# uv installs in seconds what takes pip a minute; pip does it too where uv has no build.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: -r scripts/setup.lock ||
    say "setup: uv could not be had; going on with pip"
with_pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"; }
with_uv() {
    # Certificates of the system: a company's own authority is known there and nowhere else.
    # No link mode that shares files with a cache: pods run as another user and must be able to read them.
    VIRTUAL_ENV=$PWD/$venv UV_SYSTEM_CERTS=true UV_LINK_MODE=copy "$venv/bin/uv" pip install --quiet "$@"
}
install() {
    if [ -x "$venv/bin/uv" ]; then
        with_uv "$@" && return
        say "setup: uv failed; trying pip, which takes about a minute"
    fi
    with_pip "$@"
}
say "setup: installing $lock"
install --require-hashes -r "$lock"
# The scanners read files; they need nothing of the project installed.
if [ "$kind" = scan ]; then
    mkdir -p "$venv/stamps"
    date -u +%FT%TZ >"$venv/stamps/$kind"
    say "setup: $venv is ready"
    exit 0
fi
if "$venv/bin/python" -c 'import setuptools' 2>/dev/null; then
    install --no-deps --no-build-isolation -e .
else
    install --no-deps -e .
fi

if [ "$kind" != lab ]; then
    "$venv/bin/python" -m platform_lib.providers.tools
fi
mkdir -p "$venv/stamps"
date -u +%FT%TZ >"$venv/stamps/$kind"
# The dev lock holds everything of the runtime lock.
[ "$kind" != dev ] || cp "$venv/stamps/dev" "$venv/stamps/runtime"
say "setup: $venv is ready ($extra)"
