#!/usr/bin/env bash
# fuzz.sh GO EXECUTIONS runs every fuzz target of the module, one at a time.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=$1 executions=$2
count=0 failed=0
while IFS=: read -r file target; do
	count=$((count + 1))
	executions=$2
	# Each of these runs a request on a WASM runtime, and takes milliseconds.
	[[ $target == FuzzModule ]] && executions=$((executions / 40))
	echo "== $target in $(dirname "$file")"
	if ! "$go" test -run '^$' -fuzz "^$target\$" -fuzztime="${executions}x" -fuzzminimizetime=1x "./$(dirname "$file")"; then
		failed=$((failed + 1))
	fi
done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' --exclude-dir=.cache . |
	sed -E 's#^\./([^:]+):[0-9]+:func (Fuzz[A-Za-z0-9_]+)#\1:\2#' | sort)
echo "fuzz targets=$count failed=$failed"
[[ $count -gt 0 && $failed == 0 ]]
