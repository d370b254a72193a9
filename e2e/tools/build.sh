#!/usr/bin/env bash
# Builds the programs that the end-to-end tests run (see README.md), each once,
# into a cache folder, and prints the folder that holds them all as the only
# line on standard output. Progress goes to standard error.
#
#   build.sh            build what is missing
#   build.sh --print    only print the folder; fail if it is not complete
#
# Environment:
#   COUNTERSIGN_CACHE    the cache (default: $XDG_CACHE_HOME/countersign or
#                        ~/.cache/countersign)
#   KUBEBUILDER_ASSETS   a folder with kube-apiserver, etcd and kubectl: these
#                        three are then taken from there instead of being built
#
# Needs Go, bash, GNU coreutils, and Python with pip. No C compiler and no git.
set -euo pipefail
shopt -s globstar
export LC_ALL=C            # one order of file names, hence one hash, everywhere
export CGO_ENABLED=0 GOWORK=off
unset CDPATH

say() { printf 'e2e tools: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

print_only=false
case "$#:${1-}" in
0:) ;;
1:--print) print_only=true ;;
*) die "usage: build.sh [--print]" ;;
esac
command -v go >/dev/null || die "Go is not installed (the command 'go' was not found)"
command -v python3 >/dev/null || die "Python is not installed (the command 'python3' was not found)"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(realpath -m "${COUNTERSIGN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/countersign}")/e2e-tools

# All work happens in one temporary folder inside the cache, so that finished
# folders can be moved to their place by a rename.
work=
trap '[[ -z $work ]] || rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# complete DIR TOOL..: are all these programs there?
complete() {
    local dir=$1 tool
    shift
    for tool in "$@"; do [[ -f $dir/$tool && -x $dir/$tool ]] || return 1; done
}

# publish NEW DIR TOOL..: rename NEW to DIR. Another run may do the same at the
# same time; its result is as good as ours.
publish() {
    local new=$1 dir=$2
    shift 2
    complete "$dir" "$@" && return
    rm -rf "$dir"
    mv -T "$new" "$dir" 2>/dev/null || complete "$dir" "$@" || die "cannot make $dir"
}

# required MODULE: the version of MODULE that ./go.mod requires.
required() {
    local line
    while read -r -a line; do
        [[ ${line[0]-} != require ]] || line=("${line[@]:1}")
        [[ ${line[0]-} != "$1" ]] || { printf '%s\n' "${line[1]}"; return; }
    done <go.mod
    die "$PWD/go.mod does not require $1"
}

tools=()   # names of the programs
targets=() # where the symlink of each points to, seen from the bin folder

# family NAME MODULE PACKAGE..: the programs of one wrapper module, in the folder
# NAME beside this script. MODULE gives the version. A package's program has the
# name of its last path element, except that etcd's is the root of its module and
# the registry's is the wrapper module itself; or it is written TOOL=PACKAGE.
family() {
    local name=$1 module=$2 version hash dir ldflags="-s -w" package tool start
    shift 2
    cd "$here/$name"
    version=$(required "$module")
    case $name in
    kubernetes) # kubectl cannot parse the version of an API server without this
        local major minor
        IFS=. read -r major minor _ <<<"${version#v}"
        ldflags+=" -X k8s.io/component-base/version.gitVersion=$version"
        ldflags+=" -X k8s.io/component-base/version.gitMajor=$major"
        ldflags+=" -X k8s.io/component-base/version.gitMinor=$minor"
        ;;
    cosign) ldflags+=" -X sigs.k8s.io/release-utils/version.gitVersion=$version" ;;
    esac
    # 'go env' runs inside the module: its go line can select another toolchain.
    hash=$({ sha256sum go.mod go.sum ./**/*.go && go env GOVERSION GOOS GOARCH && printf '%s\n' "$ldflags"; } | sha256sum)
    dir=$name-$version-${hash:0:12}

    local names=()
    for package in "$@"; do
        case $package in
        . | "$module") tool=$name ;;
        *=*) tool=${package%%=*} ;;
        *) tool=${package##*/} ;;
        esac
        names+=("$tool")
        tools+=("$tool")
        targets+=("../$dir/$tool")
    done
    if $print_only || complete "$root/$dir" "${names[@]}"; then return; fi

    mkdir -p "$root"
    [[ -n $work ]] || work=$(mktemp -d "$root/.work.XXXXXXXX")
    mkdir "$work/$name"
    local i=0
    for package in "$@"; do
        tool=${names[i++]}
        say "building $tool ($dir) ..."
        start=$SECONDS
        go build -mod=readonly -trimpath -buildvcs=false -ldflags "$ldflags" \
            -o "$work/$name/$tool" "${package#*=}" >&2
        say "built $tool in $((SECONDS - start)) s"
    done
    publish "$work/$name" "$root/$dir" "${names[@]}"
}

# python_program TOOL PACKAGE PYTHON: a Python package with all that it needs, each
# file by its hash; a program TOOL that runs it as a module, and an interpreter
# PYTHON that finds the same packages. The interpreter is the one that is found
# now: compiled parts fit no other version.
python_program() {
    local tool=$1 package=$2 python=$3 version interpreter hash dir start
    cd "$here/$tool"
    version=$(<requirements.in) version=${version#"$package=="}
    interpreter=$(python3 -c 'import sys; print(sys.executable)')
    hash=$({ cat requirements.txt && printf '%s\n' "$interpreter" "$python" && "$interpreter" --version; } | sha256sum)
    dir=$tool-v$version-${hash:0:12}
    tools+=("$tool" "$python")
    targets+=("../$dir/$tool" "../$dir/$python")
    if $print_only || complete "$root/$dir" "$tool" "$python"; then return; fi

    "$interpreter" -m pip --version >/dev/null 2>&1 || die "Python has no pip (python3 -m pip fails)"
    mkdir -p "$root"
    [[ -n $work ]] || work=$(mktemp -d "$root/.work.XXXXXXXX")
    mkdir "$work/$tool"
    say "installing $tool ($dir) ..."
    start=$SECONDS
    "$interpreter" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
        --only-binary :all: --require-hashes --target "$work/$tool/packages" --requirement requirements.txt >&2
    cat >"$work/$tool/$python" <<END
#!/usr/bin/env bash
PYTHONPATH=\$(dirname "\$(realpath "\$0")")/packages exec "$interpreter" "\$@"
END
    cat >"$work/$tool/$tool" <<END
#!/usr/bin/env bash
exec "\$(dirname "\$(realpath "\$0")")/$python" -m $package "\$@"
END
    chmod +x "$work/$tool/$tool" "$work/$tool/$python"
    say "installed $tool in $((SECONDS - start)) s"
    publish "$work/$tool" "$root/$dir" "$tool" "$python"
}

assets=${KUBEBUILDER_ASSETS:-}
if [[ -n $assets ]] && complete "$assets" kube-apiserver kubectl etcd; then
    assets=$(cd "$assets" && pwd -P)
    say "kube-apiserver, kubectl and etcd are those of KUBEBUILDER_ASSETS, $assets"
    for tool in kube-apiserver kubectl etcd; do
        tools+=("$tool")
        targets+=("$assets/$tool")
    done
else
    [[ -z $assets ]] || say "KUBEBUILDER_ASSETS does not hold kube-apiserver, kubectl and etcd: building them"
    family kubernetes k8s.io/kubernetes k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
    family etcd go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3
fi
family cosign github.com/sigstore/cosign/v3 github.com/sigstore/cosign/v3/cmd/cosign
family registry github.com/google/go-containerregistry .
family sigstore github.com/sigstore/fulcio \
    fulcio=github.com/sigstore/fulcio \
    rekor-server=github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix \
    tesseract=github.com/transparency-dev/tesseract/cmd/tesseract/posix \
    ./timestamp-server
# sigstore-python needs python-tuf, so that both come by the same file of hashes.
python_program sigstore-python sigstore python-with-tuf

hash=$(printf '%s\n' "${targets[@]}" | sha256sum)
bin=$root/bin-${hash:0:12}
if ! complete "$bin" "${tools[@]}"; then
    ! $print_only || die "not built yet; run $here/build.sh"
    [[ -n $work ]] || work=$(mktemp -d "$root/.work.XXXXXXXX")
    mkdir "$work/bin"
    for i in "${!tools[@]}"; do ln -s "${targets[i]}" "$work/bin/${tools[i]}"; done
    publish "$work/bin" "$bin" "${tools[@]}"
    complete "$bin" "${tools[@]}" || die "$bin is not complete"
fi
printf '%s\n' "$bin"
