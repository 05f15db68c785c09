#!/bin/sh
# Prints the instructions that `respond` takes a query, by kind of answer, as callgrind counts
# them: the difference between two runs that differ only in the number of queries.
#
#   sh benches/instructions.sh [KIND...]        needs valgrind
set -eu
cd "$(dirname "$0")/.."
cargo build -q --release --no-default-features --example answer_loop
loop=${CARGO_TARGET_DIR:-target}/release/examples/answer_loop
few=1000
many=11000
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$loop" "$1" "$2" 5000 2>&1 |
        awk '/Collected/ { print $4 }'
}
[ $# -gt 0 ] || set -- a cname referral nxdomain nodata wildcard
for kind in "$@"; do
    a=$(count "$kind" $few)
    b=$(count "$kind" $many)
    echo "$kind $(((b - a) / (many - few)))"
done
