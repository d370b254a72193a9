#!/usr/bin/env bash
# Runs the TUF conformance suite (https://github.com/theupdateframework/tuf-conformance)
# against a client:
#
#   run.sh CLIENT [PYTEST_ARGUMENT..]
#
# Environment:
#   TUF_CONFORMANCE      a checkout of the suite (default: the pinned commit is cloned into the cache)
#   COUNTERSIGN_CACHE    the cache (default: $XDG_CACHE_HOME/countersign or ~/.cache/countersign)
#
# Needs git, Python 3.10 or later with venv, and the program faketime, by which the suite moves the clock.
set -euo pipefail

commit=eec841c186f81f2d9d8d30460c7e7deefa615f9e
die() { printf 'tuf-conformance: %s\n' "$*" >&2; exit 1; }

[[ $# -ge 1 ]] || die "usage: run.sh CLIENT [PYTEST_ARGUMENT..]"
client=$(realpath "$1")
shift
for tool in git python3 faketime; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cache=$(realpath -m "${COUNTERSIGN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/countersign}")/tuf-conformance
mkdir -p "$cache"

suite=${TUF_CONFORMANCE:-$cache/$commit}
if [[ ! -f $suite/tuf_conformance/conftest.py ]]; then
    [[ -z ${TUF_CONFORMANCE:-} ]] || die "$suite is no checkout of the suite"
    new=$(mktemp -d "$cache/.new.XXXXXXXX")
    git clone --quiet --no-checkout https://github.com/theupdateframework/tuf-conformance "$new"
    git -C "$new" checkout --quiet "$commit"
    mv -T "$new" "$suite" 2>/dev/null || rm -rf "$new"
fi

venv=$cache/venv-$(sha256sum "$here/requirements.txt" | cut -c1-12)
if [[ ! -x $venv/bin/pytest ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi

cd "$suite"
exec "$venv/bin/pytest" tuf_conformance --entrypoint "$client" "$@"
