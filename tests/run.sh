#!/usr/bin/env bash
# Runs the tests of a build folder under ctest, and ends with the line "N passed, N failed": cmocka's
# single tests; a script, or a program that broke off, counts as one.
# Usage: tests/run.sh [FOLDER [ctest options..]]
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # tests have tiny regions: spinning threads would wait for each other
build=${1:-build}
log=$build/Testing/Temporary/LastTest.log

rm -f "$log"
status=0
ctest --test-dir "$build" -j "$(nproc 2>/dev/null || echo 2)" --output-on-failure "${@:2}" || status=$?
[ -e "$log" ] || {
    echo "tests/run.sh: no test was run" >&2
    exit 1
}
awk '
    /^[0-9]+\/[0-9]+ Test: / { ok = bad = skip = absent = 0 }
    /^Command: ""$/ { absent = 1 } # not built; ctest ends it with "Test Passed." all the same
    /\[       OK \]/ { ok++ }
    match($0, /[0-9]+ test\(s\)/) && /\[  SKIPPED \]/ { skip = substr($0, RSTART) + 0 }
    match($0, /[0-9]+ test\(s\)/) && /\[  FAILED  \]/ { bad = substr($0, RSTART) + 0 }
    /^Test Passed\.$/ {
        if (absent)
            failed++
        else
            passed += ok + skip ? ok : 1
        skipped += skip
    }
    /^Test Failed\.$/ || /^Test Failed$/ { passed += ok; skipped += skip; failed += bad ? bad : 1 }
    END {
        if (skipped)
            print skipped " skipped"
        print passed + 0 " passed, " failed + 0 " failed"
    }' "$log"
exit "$status"
