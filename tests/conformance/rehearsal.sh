#!/bin/sh
# A rehearsal job as a program, for: broker-queue exec rehearsal -- sh tests/conformance/rehearsal.sh
# It takes `seconds`, fails with the text in `fail`, and else gives back its args as they came.
set -eu

args=$(cat && echo .) # the dot keeps line breaks at their end, which $(…) would drop
args=${args%.}

seconds_and_failure='
import json, sys
args = json.load(sys.stdin)
if not isinstance(args, dict):
    sys.exit("the args are no object")
print(args.get("seconds", 0))
print(args.get("fail", ""))
'
told=$(printf '%s' "$args" | python3 -c "$seconds_and_failure") || exit 65 # EX_DATAERR: no retry
sleep "$(printf '%s' "$told" | head -n 1)"
fail=$(printf '%s' "$told" | tail -n +2)
if [ -n "$fail" ]; then
    echo "$fail" >&2
    exit 1
fi
printf '%s' "$args"
