#!/bin/sh
# Makes .venv with all that Bulkhead needs, as pinned in constraints.txt. Quick when there is nothing to do; a half-made
# or outdated one is made anew. Installs Debian's python3-venv itself when root.
set -eu
cd "$(dirname "$0")/.."

say() { echo "bootstrap: $*" >&2; }

wanted=$(cat pyproject.toml constraints.txt "$0" | sha256sum | cut -d ' ' -f 1)
stamp=.venv/bulkhead-stamp
if [ "$(cat "$stamp" 2>/dev/null || :)" = "$wanted" ] && .venv/bin/python -I -c 'import bulkhead' 2>/dev/null; then
    exit 0
fi

# Debian's python3 alone can't make virtual environments: ensurepip comes with python3-venv.
usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
find_python() {
    for candidate in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && usable "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

if ! find_python; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "no Python of 3.11 or newer here can make virtual environments. Missing: python3 python3-venv"
        say "on Debian: sudo apt-get install python3 python3-venv"
        exit 1
    fi
    say "installing python3-venv"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null
    find_python || {
        say "python3 is older than 3.11: use Debian 12 or newer"
        exit 1
    }
fi

say "making .venv with $("$python" --version)"
"$python" -m venv --clear .venv
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "$wanted" >"$stamp"
