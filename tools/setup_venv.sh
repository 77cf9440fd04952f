#!/bin/sh
# Makes .venv: Python 3.10 and exactly what requirements.txt pins, then this package, editable.
# Does nothing when that is done already. `make venv` calls it.
#
# usage: tools/setup_venv.sh [cpu|gpu]
#
# --no-deps is how PaddleSlim's pin of opencv-python is overridden: requirements.txt is the complete, hashed
# closure with one OpenCV, the headless one, and pip is not asked whether PaddleSlim agrees (see overrides.txt).
set -eu
cd "$(dirname "$0")/.."
paddle=${1:-cpu}
venv=.venv
here=$(pwd)

case $paddle in
cpu) locks="requirements.txt" ;;
gpu) locks="requirements.txt requirements-gpu.txt" ;;
*) echo "error: PADDLE is cpu or gpu, not $paddle" >&2; exit 1 ;;
esac

works() { # a shim or a broken install is on PATH and does not run; Debian splits ensurepip off
    "$1" -c 'import ensurepip, ssl, sys, venv, zlib; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python \
        "$HOME"/.pyenv/versions/3.10*/bin/python python3 python; do
        if [ -n "$candidate" ] && works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    if command -v uv >/dev/null 2>&1; then
        echo "no Python 3.10 here; asking uv for one" >&2
        uv python install 3.10 >&2 || true
        candidate=$(uv python find --python-preference only-managed 3.10 2>/dev/null || true)
        if [ -n "$candidate" ] && works "$candidate"; then
            echo "$candidate"
            return
        fi
    fi
    cat >&2 <<'END'
error: no working Python 3.10 (with venv and ensurepip) was found, and Paddle Lite's wheel supports none newer.
Looked at: $PYTHON, python3.10 on PATH, pyenv's versions, python3, uv. Install one of these, then run make again:
  pyenv:   pyenv install 3.10
  uv:      install uv, which then fetches a Python by itself
  Debian:  apt install python3.10 python3.10-venv   (where the release has it)
or name one yourself: PYTHON=/path/to/python3.10 make venv
END
    exit 1
}

locked_key="$here $paddle $(cat $locks | cksum)"
package_key=$(cat pyproject.toml setup.py ppsplit/codec/wavefront.c | cksum) # what an editable install is built from
is_locked() { [ "$(cat $venv/.locked 2>/dev/null)" = "$locked_key" ] && $venv/bin/python -c '' 2>/dev/null; }

if ! is_locked; then
    python=$(find_python)
    echo "making $venv with $("$python" --version) (a few minutes when nothing is cached)"
    "$python" -m venv --clear $venv
    $venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes -r requirements.txt
    if [ "$paddle" = gpu ]; then # both own the folder paddle/, so one must go first
        $venv/bin/python -m pip uninstall -qq --yes paddlepaddle
        $venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes -r requirements-gpu.txt
    fi
    echo "$locked_key" >$venv/.locked # last: an interrupted set-up is begun again
fi

if [ "$(cat $venv/.package 2>/dev/null)" != "$package_key" ]; then
    rm -f $venv/.package
    # with the locked setuptools, so that nothing unpinned is fetched to build
    $venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
    echo "$package_key" >$venv/.package
fi
