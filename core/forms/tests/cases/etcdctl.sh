#!/bin/sh
# Writes etcdctl/: what a real etcdctl prints. Needs etcd, etcdctl (3.4.23 wrote the files that are here), curl and jq, in PATH.
#
# The pairs are etcdctl/N.value under /registry/secrets/default/N, and are put in this order.
set -eu
cd "$(dirname "$0")/etcdctl"
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=http://127.0.0.1:23790
data=$(mktemp -d)
etcd --data-dir "$data" --listen-client-urls $ETCDCTL_ENDPOINTS --advertise-client-urls $ETCDCTL_ENDPOINTS \
  --listen-peer-urls http://127.0.0.1:23800 >"$data/log" 2>&1 &
etcd=$!
trap 'kill $etcd' EXIT
until etcdctl endpoint health >/dev/null 2>&1; do sleep 0.2; done

watch() { # file options…
  file=$1
  shift
  timeout 3 etcdctl watch --prefix /registry/ "$@" >"$file" || :
}
for format in simple json fields protobuf; do
  watch watch-$format.txt -w $format &
  watch watch-prev-$format.txt -w $format --prev-kv &
done
watch watch-hex.txt --hex &
sleep 1
for n in 1 2 3 4; do etcdctl put /registry/secrets/default/$n <$n.value >/dev/null; done
etcdctl put /registry/secrets/default/gone <1.value >/dev/null
etcdctl del /registry/secrets/default/gone >/dev/null

# Until the watches have ended.
sleep 3

for format in simple json fields protobuf; do
  etcdctl get --prefix /registry/ -w $format >get-$format.txt
  etcdctl get /registry/secrets/default/1 -w $format >one-$format.txt
  etcdctl get --prefix /registry/ --keys-only -w $format >keys-$format.txt
  etcdctl get /registry/none -w $format >none-$format.txt
  printf '\nget /registry/secrets/default/1\nget /registry/secrets/default/2\n\n\n' | etcdctl txn -w $format >txn-$format.txt
done
etcdctl get --prefix /registry/ --hex >get-hex.txt
etcdctl get --prefix /registry/ --print-value-only >values.txt
etcdctl get --prefix /registry/ --print-value-only --hex >values-hex.txt
prefix=$(printf /registry/ | base64) end=$(printf /registry0 | base64)
curl -s $ETCDCTL_ENDPOINTS/v3/kv/range -d "{\"key\":\"$prefix\",\"range_end\":\"$end\"}" >gateway.txt
curl -s -m 2 $ETCDCTL_ENDPOINTS/v3/watch -d "{\"create_request\":{\"key\":\"$prefix\",\"range_end\":\"$end\",\"start_revision\":\"2\"}}" >gateway-watch.txt || :
jq . get-json.txt >jq.txt
jq .kvs get-json.txt >jq-kvs.txt
jq '.kvs[]' get-json.txt >jq-each.txt
jq -S -c . get-json.txt >jq-sorted.txt
jq '.kvs[].value' get-json.txt >jq-values.txt
jq -r '.kvs[].value' get-json.txt >jq-raw.txt
jq '[.kvs[].value]' get-json.txt >jq-array.txt
