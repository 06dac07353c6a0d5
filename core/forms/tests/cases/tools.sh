#!/bin/sh
# Writes tools/: what real tools print of two inputs. Needs bsdextrautils, xxd, coreutils, openssl, jq, sqlite3, and a PostgreSQL server that
# `psql` reaches without a password. Each line of tools.tsv: the file, the input, the form that is seen.
#
# inputs: value.bin (an encrypted value with a run of zeros, whose last byte is zero), pair.bin (what `etcdctl get` prints of it; the length is odd).
set -eu
cd "$(dirname "$0")/tools"
: >../tools.tsv
run() { # file input form command…
  file=$1 input=$2 form=$3
  shift 3
  sh -c "$*" >"$file"
  printf '%s\t%s\t%s\n' "$file" "$input" "$form" >>../tools.tsv
}
run xxd.txt pair.bin xxd 'xxd pair.bin'
run xxd-g1.txt pair.bin xxd 'xxd -g1 pair.bin'
run xxd-g4-u.txt pair.bin xxd 'xxd -u -g4 pair.bin'
run xxd-c32.txt pair.bin xxd 'xxd -c 32 pair.bin'
run xxd-e.txt pair.bin xxd 'xxd -e pair.bin'
run xxd-e-g2.txt pair.bin xxd 'xxd -e -g2 pair.bin'
run xxd-a.txt pair.bin xxd 'xxd -a pair.bin'
run xxd-d.txt pair.bin xxd 'xxd -d pair.bin'
run xxd-p.txt value.bin hex 'xxd -p value.bin'
run xxd-p-c0.txt value.bin hex 'xxd -p -c 0 value.bin'
run xxd-i.txt value.bin hex 'xxd -i value.bin'
run hexdump.txt pair.bin hexdump 'hexdump pair.bin'
run hexdump-v.txt pair.bin hexdump 'hexdump -v pair.bin'
run hexdump-C.txt pair.bin 'hexdump -C' 'hexdump -C pair.bin'
run hexdump-x.txt pair.bin hexdump 'hexdump -x pair.bin'
run hexdump-o.txt pair.bin hexdump 'hexdump -o pair.bin'
run hexdump-d.txt pair.bin hexdump 'hexdump -d pair.bin'
run hexdump-b.txt pair.bin od 'hexdump -b pair.bin'
run hexdump-c.txt pair.bin od 'LC_ALL=C hexdump -c pair.bin'
run od.txt pair.bin od 'od pair.bin'
run od-x.txt pair.bin hexdump 'od -x pair.bin'
run od-b.txt pair.bin od 'od -b pair.bin'
run od-c.txt pair.bin od 'LC_ALL=C od -c pair.bin'
run od-tx1.txt pair.bin od 'od -t x1 pair.bin'
run od-tx1z.txt pair.bin od 'od -A x -t x1z -v pair.bin'
run od-d-tx1.txt pair.bin od 'od -A d -t x1 pair.bin'
run od-n-tx1.txt value.bin hex 'od -A n -t x1 -v value.bin'
run od-tx4.txt pair.bin hexdump 'od -t x4 pair.bin'
run od-d.txt pair.bin hexdump 'od -d pair.bin'
run od-x2-big.txt pair.bin hexdump 'od -t x2 --endian=big pair.bin'
run od-x4-big.txt pair.bin hexdump 'od -t x4 --endian=big pair.bin'
run od-tx8.txt pair.bin hexdump 'od -t x8 pair.bin'
run od-w32.txt pair.bin od 'od -w32 -t x1 pair.bin'
run hexdump-value.txt value.bin hexdump 'hexdump value.bin'
run od-value.txt value.bin od 'od value.bin'
run od-c-value.txt value.bin od 'LC_ALL=C od -c value.bin'
run base64.txt value.bin base64 'base64 value.bin'
run base64-w0.txt value.bin base64 'base64 -w0 value.bin'
run base64-pair.txt pair.bin base64 'base64 pair.bin'
run openssl.txt value.bin base64 'openssl base64 -in value.bin'
run basenc.txt value.bin base64url 'basenc --base64url value.bin'
run base64-of-xxd.txt pair.bin base64 'xxd pair.bin | base64'

database='CREATE TABLE kine (id INTEGER PRIMARY KEY, name TEXT, created INTEGER, deleted INTEGER, create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);'
hex=$(xxd -p -c 0 value.bin)
rows="INSERT INTO kine VALUES (4, 'compact_rev_key', 0, 0, 0, 0, 0, NULL, NULL); INSERT INTO kine VALUES (5, '/registry/secrets/default/token', 1, 0, 0, 0, 0, X'$hex', NULL);"
rm -f /tmp/kine.db
sqlite3 /tmp/kine.db "$database $rows"
sqlite() { # file options query
  run "sqlite-$1.txt" row 'database rows' "sqlite3 $2 /tmp/kine.db \"$3\""
}
columns='SELECT id, name, hex(value) FROM kine'
sqlite list '' "$columns"
sqlite header -header "$columns"
sqlite csv '-csv -header' "$columns"
sqlite tabs -tabs "$columns"
sqlite quote -quote 'SELECT id, name, value FROM kine'
sqlite quote-all -quote 'SELECT * FROM kine'
sqlite box -box "$columns"
sqlite table -table "$columns"
sqlite markdown -markdown "$columns"
sqlite column '-column -header' "$columns"
# As a command, `.mode` sets the width at which these modes wrap to 60.
for mode in box table markdown column; do
  sqlite wrapped-$mode "-cmd '.mode $mode'" "$columns"
done
sqlite wrapped-all "-cmd '.mode box'" 'SELECT id, name, created, hex(value) FROM kine'
sqlite wrapped-quote "-cmd '.mode box'" 'SELECT id, name, quote(value) FROM kine'
sqlite line -line "$columns"
sqlite insert "-cmd '.mode insert kine'" 'SELECT * FROM kine'
run sqlite-dump.txt row 'database rows' 'sqlite3 /tmp/kine.db .dump'
run sqlite-hex.txt value.bin hex "sqlite3 /tmp/kine.db 'SELECT hex(value) FROM kine WHERE id = 5'"
run sqlite-json.txt row 'database rows in JSON' "sqlite3 -json /tmp/kine.db \"$columns\""
run sqlite-blob.txt printed-as-text 'database rows' "sqlite3 /tmp/kine.db 'SELECT id, name, value FROM kine'"
run sqlite-quote-one.txt value.bin 'hex (SQLite blob)' "sqlite3 -quote /tmp/kine.db 'SELECT value FROM kine WHERE id = 5'"

psql -q -c 'DROP TABLE IF EXISTS kine' -c "$(echo "$database" | sed 's/BLOB/bytea/g')" -c "$(echo "$rows" | sed "s/X'/'\\\\x/g")"
psql_() { run "psql-$1.txt" row 'database rows' "psql $2 -c 'SELECT id, name, value FROM kine'"; }
psql_ aligned ''
psql_ unaligned -A
psql_ tuples -At
psql_ expanded -x
psql_ csv --csv
psql_ border '-P border=2'
psql_ unicode '-P border=2 -P linestyle=unicode'
run psql-all.txt row 'database rows' "psql -c 'SELECT * FROM kine'"
run psql-value.txt value.bin 'database rows' "psql -c 'SELECT value FROM kine WHERE id = 5'"
run psql-value-tuples.txt value.bin 'hex (Postgres bytea)' "psql -At -c 'SELECT value FROM kine WHERE id = 5'"
run psql-copy.txt row 'database rows' "psql -c 'COPY (SELECT id, name, value FROM kine WHERE id = 5) TO STDOUT'"
run psql-json.txt row 'database rows in JSON' "psql -At -c 'SELECT json_agg(kine) FROM kine'"

# encode wraps base64.
encode="SELECT id, name, encode(value, 'base64') FROM kine"
run psql-base64.txt row 'database rows' "psql -c \"$encode\""
run psql-base64-border.txt row 'database rows' "psql -P border=2 -c \"$encode\""
run psql-base64-unicode.txt row 'database rows' "psql -P linestyle=unicode -c \"$encode\""
run psql-base64-old.txt row 'database rows' "psql -P linestyle=old-ascii -c \"$encode\""
run psql-base64-unaligned.txt row 'database rows' "psql -A -c \"$encode\""
run psql-base64-tuples.txt row 'database rows' "psql -At -c \"$encode\""
run psql-base64-expanded.txt row 'database rows' "psql -x -c \"$encode\""
run psql-base64-csv.txt row 'database rows' "psql --csv -c \"$encode\""
run psql-base64-json.txt row 'database rows in JSON' "psql -At -c \"SELECT json_agg(t) FROM ($encode) t\""
run psql-hex.txt row 'database rows' "psql -c \"SELECT id, name, encode(value, 'hex') FROM kine\""
run psql-escape.txt printed-as-text 'database rows' "PGOPTIONS='-c bytea_output=escape' psql -c 'SELECT id, name, value FROM kine'"
run pg_dump.txt row 'database rows' pg_dump
