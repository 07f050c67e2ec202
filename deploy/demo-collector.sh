#!/usr/bin/env bash
# The demo by way of the real Collector, with Jaeger beside, by one command:
#
#   deploy/demo-collector.sh OTELCOL [JAEGER]      the binaries (contrib 0.144 or newer; Jaeger 2.13 or newer)
#
#   two services --OTLP--> Collector --> spantree --> PostgreSQL <-- spantree's API <-- Jaeger
#
# Runs until Ctrl-C. The Collector takes 4317 and 4318, spantree 14317, 14318 and 8000, Jaeger 16686; data and logs are in
# .spantree/collector-demo. SPANTREE says where spantree is.
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
otelcol=$(realpath "$1")
jaeger=${2:+$(realpath "$2")}
spantree=${SPANTREE:-$root/.venv/bin/spantree}
work=$root/.spantree/collector-demo
mkdir -p "$work"
pids=()

clean_up() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap clean_up EXIT

OTEL_COLLECTOR_QUEUE_DIR=$work/queue "$otelcol" --config "$root/otel-collector.yaml" >"$work/otelcol.log" 2>&1 &
pids+=($!)
if [ -n "$jaeger" ]; then
  JAEGER_UI_CONFIG=$root/deploy/jaeger-ui.json "$jaeger" --config "$root/deploy/jaeger.yaml" >"$work/jaeger.log" 2>&1 &
  pids+=($!)
  export SPANTREE_JAEGER_URL=${SPANTREE_JAEGER_URL:-http://127.0.0.1:16686}
fi
"$spantree" demo --keep --data "$work/data" --otlp-grpc-port 14317 --otlp-http-port 14318 --set otlp_endpoint=http://127.0.0.1:4318
