#!/usr/bin/env bash
# Judges a real signed image with the real binary, without cluster or network: `make demo`.
# Every command is printed as it is run; the script ends with 0 only if each verdict is the expected one.
set -uo pipefail
cd "$(dirname "$0")/.."
binary=${1:?path of the countersign binary}
image=ghcr.io/slsa-framework/example-package@sha256:e0a0a765d690a5104331cfbac88ebbbf01736c1f87aaa3cd455c516a5ea586a5
layout=policies/examples/slsa-provenance/image
builder=https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.10.0
issuer=https://token.actions.githubusercontent.com
failed=0

show() { # expected exit code, what it shows, arguments
  local expected=$1 title=$2 code
  shift 2
  printf '\n== %s\n$ countersign' "$title"
  printf ' %q' "$@"
  printf '\n\n'
  "$binary" "$@"
  code=$?
  if [ "$code" -eq "$expected" ]; then
    printf '\n(exit code %d, as expected)\n' "$code"
  else
    printf '\n(exit code %d, but %d was expected)\n' "$code" "$expected"
    failed=1
  fi
}

show 0 "Built by the workflow that we trust: allowed" \
  verify "$image" --layout "$layout" --type slsaprovenance --certificate-identity "$builder" --certificate-oidc-issuer "$issuer"
show 1 "We trust another workflow: denied" \
  verify "$image" --layout "$layout" --type slsaprovenance --certificate-identity "${builder/v1.10.0/v2.0.0}" --certificate-oidc-issuer "$issuer"
show 1 "An attestation about the image is no signature of it: denied" \
  verify "$image" --layout "$layout" --certificate-identity "$builder" --certificate-oidc-issuer "$issuer"
show 0 "A Pod under a policy: allowed" \
  review -f policies/examples/slsa-provenance/allow.yaml --policies policies/examples/slsa-provenance/policy.yaml --layout "$layout"
show 1 "A Pod whose image carries no signature: denied" \
  review -f policies/examples/unsigned-image/deny.yaml --policies policies/examples/unsigned-image/policy.yaml --layout policies/examples/unsigned-image/image
echo
if [ "$failed" -eq 0 ]; then echo "All verdicts are the expected ones."; else echo "A verdict is not the expected one."; fi
exit "$failed"
