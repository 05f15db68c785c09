#!/bin/sh
# Prints the instructions that `respond` takes a query, by kind of answer, as callgrind counts
# them: the difference between two runs that differ only in the number of queries.
#
#   sh benches/instructions.sh [KIND...]        needs valgrind
#
# Kinds are those of the `answer` benchmark: a cname referral nxdomain nodata wildcard, with DNSSEC
# dnssec-a nsec-nxdomain nsec3-nxdomain nsec3-referral nsec3-wildcard, and zones-a zones-nxdomain
# for one among many zones. NAMES in the environment is how many names or zones there are.
set -eu
cd "$(dirname "$0")/.."
cargo build -q --profile dist --no-default-features --example answer_loop
loop=${CARGO_TARGET_DIR:-target}/dist/examples/answer_loop
few=1000
many=11000
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$loop" "$1" "$2" "${NAMES:-5000}" 2>&1 |
        awk '/Collected/ { print $4 }'
}
[ $# -gt 0 ] || set -- a cname referral nxdomain nodata wildcard \
    dnssec-a nsec-nxdomain nsec3-nxdomain nsec3-referral nsec3-wildcard zones-a zones-nxdomain
for kind in "$@"; do
    a=$(count "$kind" $few)
    b=$(count "$kind" $many)
    echo "$kind $(((b - a) / (many - few)))"
done
