#!/bin/sh
# Rolls out one overlay in order: rollout.sh dev|prod [kubectl options, such as --context NAME].
#
# Configuration and servers first, then roles and schemas (dev), then migrations, then everything. `kubectl apply -k` by
# itself gets there too, but new processes then fail and start again until the migrations are done. Old code must run on
# the new schema meanwhile: every migration keeps what the release before it uses.
set -eu
cd "$(dirname "$0")"

overlay="$1"
shift
rendered="$(mktemp)"
trap 'rm -f "$rendered"' EXIT
kubectl kustomize "overlays/$overlay" >"$rendered"
namespace="$(sed -n 's/^namespace: *//p' "overlays/$overlay/kustomization.yaml")"

in_namespace() {
    kubectl --namespace "$namespace" "$@"
}

in_namespace apply --filename "$rendered" --selector posthorn/step=configure "$@"
if grep -q '^kind: StatefulSet' "$rendered"; then
    in_namespace rollout status statefulset --selector posthorn/step=configure --timeout 10m "$@"
fi
for step in provision migrate; do
    grep -q "posthorn/step: $step\$" "$rendered" || continue
    # A job cannot be changed, only made anew.
    in_namespace delete job --selector "posthorn/step=$step" --ignore-not-found "$@"
    in_namespace apply --filename "$rendered" --selector "posthorn/step=$step" "$@"
    in_namespace wait job --selector "posthorn/step=$step" --for condition=Complete --timeout 10m "$@"
done
in_namespace apply --filename "$rendered" "$@"
in_namespace rollout status deployment --selector app.kubernetes.io/part-of=posthorn --timeout 10m "$@"
