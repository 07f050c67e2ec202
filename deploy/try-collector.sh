#!/usr/bin/env bash
# Try deploy/two-copies as it is: the real Collector and the real Jaeger, with `spantree up` behind.
#
#   deploy/try-collector.sh OTELCOL JAEGER      the two binaries (contrib 0.144 or newer; Jaeger 2)
#
#   1  official exporters, gRPC and HTTP -> Collector -> spantree and Jaeger
#   2  spantree away, kill -9 of the Collector under load (KILLS times, default 3), spantree back: all that was
#      acknowledged is on both sides, once
#   3  Jaeger away, its queue full: what that does to senders and to spantree; Jaeger back: all goes on
#
# Everything listens on free ports of 127.0.0.1 and lies in a temporary directory; both are given back at the end. Takes
# about two minutes. Exits 0 if nothing acknowledged was lost. PYTHON and SPANTREE say where those two are, KEEP=1 keeps
# the directory with the logs.
set -euo pipefail

[ $# -eq 2 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 2; }
otelcol=$(realpath "$1") jaeger=$(realpath "$2")
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
spantree=${SPANTREE:-$root/.venv/bin/spantree}
kills=${KILLS:-3}
work=$(mktemp -d "${TMPDIR:-/tmp}/try-collector.XXXXXX")
otelcol_pid='' jaeger_pid='' spantree_pid=''

stop() { # stop PID [SIGNAL]: and wait until it is gone
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 0
  kill -"${2:-TERM}" "$1"
  for _ in $(seq 300); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null || true
}

clean_up() {
  local status=$?
  stop "$otelcol_pid"; stop "$jaeger_pid"; stop "$spantree_pid"
  if [ "$status" -ne 0 ]; then
    for log in "$work"/*.log; do echo "--- end of ${log##*/}"; tail -n 8 "$log" | cut -c1-400; done
  fi
  if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap clean_up EXIT

wait_for() { # wait_for PID NAME URL: until URL answers 2xx; fails if the process ends, or after 60 s
  for _ in $(seq 600); do
    curl --silent --fail --output /dev/null --max-time 2 "$3" && return 0
    kill -0 "$1" 2>/dev/null || { echo "$2 ended before it was ready"; return 1; }
    sleep 0.1
  done
  echo "$2 was not ready after 60 s"; return 1
}

read -r grpc http health metrics spantree_grpc spantree_http spantree_api jaeger_grpc jaeger_http jaeger_health query query_grpc < <(
  "$python" - <<'PORTS'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(12)]
print(*(server.getsockname()[1] for server in held))
PORTS
)

start_otelcol() { # with the settings given as NAME=VALUE, if any
  env OTEL_COLLECTOR_GRPC_PORT="$grpc" OTEL_COLLECTOR_HTTP_PORT="$http" OTEL_COLLECTOR_HEALTH_PORT="$health" \
    OTEL_COLLECTOR_METRICS_PORT="$metrics" OTEL_COLLECTOR_QUEUE_DIR="$work/queue" \
    OTEL_COLLECTOR_SPANTREE_ENDPOINT="http://127.0.0.1:$spantree_http" OTEL_COLLECTOR_JAEGER_ENDPOINT="http://127.0.0.1:$jaeger_http" "$@" \
    "$otelcol" --config "$root/deploy/two-copies/otel-collector.yaml" >>"$work/otelcol.log" 2>&1 &
  otelcol_pid=$!
  disown # or the shell reports each kill
  wait_for "$otelcol_pid" Collector "http://127.0.0.1:$health"
}

start_jaeger() {
  JAEGER_OTLP_GRPC_PORT=$jaeger_grpc JAEGER_OTLP_HTTP_PORT=$jaeger_http JAEGER_HEALTH_PORT=$jaeger_health \
    JAEGER_QUERY_PORT=$query JAEGER_QUERY_GRPC_PORT=$query_grpc \
    JAEGER_DATA_DIR="$work/jaeger" "$jaeger" --config "$root/deploy/two-copies/jaeger.yaml" >>"$work/jaeger.log" 2>&1 &
  jaeger_pid=$!
  disown
  wait_for "$jaeger_pid" Jaeger "http://127.0.0.1:$jaeger_health/status"
}

start_spantree() {
  "$spantree" up --data "$work/spantree" --host 127.0.0.1 --api-port "$spantree_api" \
    --otlp-http-port "$spantree_http" --otlp-grpc-port "$spantree_grpc" >>"$work/spantree.log" 2>&1 &
  spantree_pid=$!
  disown
  wait_for "$spantree_pid" spantree "http://127.0.0.1:$spantree_api/readyz"
}

send() { # send FILE SECONDS
  "$python" "$root/deploy/try_collector_traffic.py" send --acknowledged "$1" --seconds "$2" \
    --http "http://127.0.0.1:$http" --grpc "127.0.0.1:$grpc"
}

count() { # count FILE STORE...: in each store ("spantree", "jaeger")
  local file=$1 stores=(); shift
  case " $* " in *" spantree "*) stores+=(--spantree "http://127.0.0.1:$spantree_api");; esac
  case " $* " in *" jaeger "*) stores+=(--jaeger "http://127.0.0.1:$query");; esac
  "$python" "$root/deploy/try_collector_traffic.py" count --acknowledged "$file" --deadline 120 "${stores[@]}"
}

echo "0  validate"
"$otelcol" validate --config "$root/otel-collector.yaml"
"$otelcol" validate --config "$root/deploy/two-copies/otel-collector.yaml"
"$jaeger" validate --config "$root/deploy/two-copies/jaeger.yaml"

echo "1  both sides there"
start_jaeger
start_spantree
start_otelcol
send "$work/first" 4
count "$work/first" spantree jaeger

echo "2  spantree away, Collector killed $kills times under load"
stop "$spantree_pid"
for _ in $(seq "$kills"); do
  send "$work/killed" 4 & sender_pid=$!
  sleep 2.5
  stop "$otelcol_pid" KILL
  start_otelcol
  wait "$sender_pid"
done
du -sh "$work/queue" | sed 's/^\([^\t]*\).*/  on disk for both: \1/'
start_spantree
count "$work/killed" spantree jaeger

echo "3  Jaeger away, its queue of 2 MB full"
stop "$otelcol_pid"
stop "$jaeger_pid"
start_otelcol OTEL_COLLECTOR_JAEGER_QUEUE_BYTES=2000000
send "$work/full" 3
echo "  full now:"
send "$work/full" 3
start_jaeger
echo "  Jaeger is back:"
send "$work/full" 3
count "$work/full" spantree jaeger

echo "nothing that was acknowledged is lost"
