# shellcheck shell=bash
# What this worker can do: put your own job types into the table at the end.
#
# A handler is a function or a program. It gets the args on standard input and writes the result, as
# JSON, to standard output (nothing is `null`). An exit code other than 0 is a failure, with what it
# wrote to standard error as the message; 65 (EX_DATAERR) says that the args are wrong, so that
# trying again does not help. If the job is canceled, it and all that it started are killed.

# Words for jq programs: `| invalid` ends one with 65 and the text before it as the message.
readonly JQ_WORDS='
  def invalid: halt_error(65);
  def object: if type == "object" then . else "the args must be an object" | invalid end;'

# Takes `seconds`, then fails with the message `fail`, or returns the args as they came.
rehearse() {
  local args=$TMPDIR/args plan
  cat >"$args"
  plan=$(jq -r "$JQ_WORDS"'object
    | (.seconds // 0
      | if type == "number" and . >= 0 then . else "`seconds` must be a number, 0 or more" | invalid end),
      (if has("fail") then "fail: \(.fail)" else empty end)' "$args")
  sleep "${plan%%$'\n'*}"
  if [[ $plan == *$'\nfail: '* ]]; then
    echo "${plan#*$'\nfail: '}" >&2
    return 1
  fi
  cat "$args"
}

# Counts the lines of `text`, and the characters of the longest one.
count_lines() {
  jq -c "$JQ_WORDS"'object | .text
    | if type == "string" then . else "`text` must be a string" | invalid end
    | rtrimstr("\n") | split("\n") | {lines: length, longest: (map(length) | max // 0)}'
}

# shellcheck disable=SC2034  # read in worker.bash
declare -rA HANDLERS=(
  [rehearsal.shell]=rehearse
  [text.lines]=count_lines
)
