#!/usr/bin/env bash
# A worker in bash: level 2 of docs/protocol.md.
#
# Every job is a process, and another one listens to the broker. Whatever happens becomes a line in one
# pipe: the name of a function below, and its arguments. The loop at the end takes them one by one; it
# alone writes to the broker.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=handlers.bash
source "$here/handlers.bash"
# shellcheck source=amqp.bash
source "$here/amqp.bash"

url=${BROKER_QUEUE_URL:-amqp://guest:guest@localhost:5672}
namespace=${BROKER_QUEUE_NAMESPACE:-bq}
concurrency=${CONCURRENCY:-4}
readonly PROTOCOL=1 REMEMBERED=10000
readonly STARTED_AFTER=50 CONSUME_AGAIN=1000 STOP_WITHIN=30000 LONGEST_PAUSE=15000 # milliseconds
readonly REPORTS=1 # the channel of reports and control messages; the types have those from 2 on
types=("${!HANDLERS[@]}")

[[ $concurrency =~ ^[1-9][0-9]*$ ]] || {
  echo "CONCURRENCY must be a positive number" >&2
  exit 2
}

folder=$(mktemp --directory)
mkfifo "$folder/events"
exec {EVENTS}<>"$folder/events"

# By token: what this worker holds. A message is "channel tag", or empty while there is none because
# the connection was lost. States: waiting → running → ended → reported.
declare -A message=() state=() began=() outcome=() canceled=()
confirming=() # number of a published report → token, if it was the last one of its job
waiting=() canceled_order=() consuming=()
timers=() # when, in milliseconds → event; bash keeps them in order
running=0 connection=0 published=0 pause=1000 ready='' stop_by=''

log() { printf '%(%F %T)T worker[%s]: %s\n' -1 $$ "$*" >&2; }
tell() { echo "$*" >&"$EVENTS"; } # event...; an `echo` of a line this short is never torn

now() { FOUND=$((${EPOCHREALTIME/[.,]/} / 1000)); } # sets FOUND, as everything in amqp.bash does
later() { # milliseconds, event...
  local at
  now && at=$((FOUND + $1))
  while [[ -v timers[at] ]]; do at=$((at + 1)); done
  timers[at]=${*:2}
}

# Starts a command as a process group of its own, to be killed as a whole.
background() { # folder that keeps its id, command...
  mkdir -p "$1"
  set -m
  "${@:2}" &
  set +m
  echo $! >"$1/process"
}

end() { # folder
  kill -KILL -- -"$(<"$1/process")"
  wait "$(<"$1/process")" # else bash says that it was killed
} 2>/dev/null

# Tidies up after this worker, however it ended; also if it was killed.
tidy_up() {
  local each
  tail --pid=$$ --sleep-interval=0.2 --follow /dev/null
  for each in "$folder"/*/process; do end "${each%/process}"; done
  rm -rf "$folder"
}

# --- the connection ------------------------------------------------------------------------------

decoded() { printf '%b' "${1//%/\\x}"; }

connect() {
  [[ $url =~ ^amqp://(([^:@/]*)(:([^@/]*))?@)?(\[[^]]*\]|[^:/]*)(:([0-9]+))?(/([^?]*))?(\?.*)?$ ]] || {
    log "BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost (for TLS, put stunnel before it)"
    exit 2
  }
  user=$(decoded "${BASH_REMATCH[2]:-guest}") password=$(decoded "${BASH_REMATCH[4]:-guest}")
  vhost=$(decoded "${BASH_REMATCH[9]:-/}")
  local host=${BASH_REMATCH[5]//[\[\]]/} port=${BASH_REMATCH[7]:-5672}
  connection=$((connection + 1)) published=0
  if amqp_open_socket "$host" "$port"; then
    background "$folder/$connection" amqp_listen "tell amqp $connection" "$folder/$connection"
  else
    lost "nobody listens at $host:$port"
  fi
}

lost() { # why
  log "connection lost, next try in $pause ms: $*"
  end "$folder/$connection"
  rm -rf "${folder:?}/$connection"
  connection=$((connection + 1)) # what the old one still tells does not count
  amqp_close_socket
  ready='' consuming=()
  # The broker has taken the messages back: what has not begun is forgotten, what runs goes on. A job
  # that was reported without a message may have gone to another worker: of those not all are kept.
  local token
  for token in "${!state[@]}"; do
    message[$token]=''
    if [[ ! -v began[$token] ]] || { [[ ${state[$token]} == reported ]] && ((${#state[@]} > REMEMBERED)); }; then
      forget "$token"
    fi
  done
  waiting=() confirming=()
  later "$pause" connect
  pause=$((pause * 2 < LONGEST_PAUSE ? pause * 2 : LONGEST_PAUSE))
}

amqp() { # number of the connection, event...
  [[ $1 == "$connection" ]] && "on_${*:2:1}" "${@:3}"
}

on_start() { amqp_start_ok "$user" "$password"; }
on_tune() { amqp_tune_ok "$1" "$2" && amqp_open_vhost "$vhost"; }
on_opened() { amqp_open_channel $REPORTS && beat "$connection"; }
on_closed() { lost "$*"; }
on_lost() { lost "the broker is gone"; }
on_refused() { lost "the broker refused a report"; }

beat() { # number of the connection
  [[ $1 == "$connection" ]] || return 0
  amqp_beat
  later $((AMQP_HEARTBEAT * 1000 / 2)) beat "$1"
}

on_channel_opened() { # channel
  local job_type
  if (($1 == REPORTS)); then
    amqp_select_confirms $REPORTS
    amqp_declare_exclusive $REPORTS
    for job_type in "${types[@]}"; do amqp_bind $REPORTS "$namespace.control" "$job_type"; done
    amqp_consume $REPORTS "" 2
  elif [[ ! $stop_by ]]; then
    amqp_prefetch "$1" "$concurrency"
    amqp_consume "$1" "$namespace.jobs.${types[$1 - 2]}" 0
  fi
}

# Takes jobs only once it hears of cancels: then none falls in between.
on_consuming() { # channel
  local index token
  if (($1 != REPORTS)); then
    # It may have been asked to stop while the broker's answer was on its way.
    if [[ $stop_by ]]; then amqp_cancel "$1"; else consuming[$1]=yes; fi
    return
  fi
  ready=yes pause=1000
  for token in "${!state[@]}"; do
    [[ ${state[$token]} == ended ]] && report_outcome "$token"
  done
  for index in "${!types[@]}"; do consume "$connection" $((index + 2)); done
}

consume() { # number of the connection, channel
  [[ $1 == "$connection" && ! $stop_by ]] && amqp_open_channel "$2"
}

# The queue of a type comes into being with its first job; until then there is none to consume.
on_channel_closed() { # channel, code, text
  amqp_close_channel_ok "$1"
  if (($1 != REPORTS && $2 == 404)); then
    drop_messages "$1"
    later $CONSUME_AGAIN consume "$connection" "$1"
  else
    lost "channel $*"
  fi
}

# What a closed channel has brought cannot be acknowledged: the next one with its number counts anew.
drop_messages() { # channel
  local token index
  for token in "${!message[@]}"; do
    [[ ${message[$token]} != "$1 "* ]] || message[$token]=''
  done
  for index in "${!waiting[@]}"; do
    token=${waiting[$index]%% *}
    [[ ${message[$token]} ]] || { forget "$token" && unset 'waiting[index]'; }
  done
  waiting=("${waiting[@]}")
}

# The queue was deleted; the channel is still open.
on_consumer_gone() { # channel
  unset "consuming[$1]"
  later $CONSUME_AGAIN amqp "$connection" channel_opened "$1"
}

# --- jobs ----------------------------------------------------------------------------------------

on_delivery() { # channel, tag, type, token, protocol, file
  local channel=$1 tag=$2 job_type=$3 token=$4 version=$5 file=$6
  if ((channel == REPORTS)); then
    [[ $job_type == cancel ]] && cancel "$file"
    rm "$file"
  elif [[ $token == - || ! $version =~ ^[0-9]+$ ]] || ((version > PROTOCOL)); then
    log "a job of protocol $version is not for this worker"
    rm "$file"
    amqp_reject "$channel" "$tag"
  elif [[ ${message[$token]-} ]]; then # a second copy
    rm "$file"
    amqp_ack "$channel" "$tag"
  elif [[ -v state[$token] ]]; then # it still runs here, or ended while there was no connection
    rm "$file"
    message[$token]="$channel $tag"
    tell_started "$token"
    acknowledge "$token"
  else
    mkdir "$folder/$token"
    mv "$file" "$folder/$token/args"
    message[$token]="$channel $tag" state[$token]=waiting
    if [[ -v canceled[$token] ]]; then
      give_back "$token" canceled
    elif [[ $stop_by ]]; then
      give_back "$token" "the worker stops"
    else
      waiting+=("$token $job_type")
      begin_next
    fi
  fi
}

begin_next() {
  while ((${#waiting[@]} && running < concurrency)); do
    # shellcheck disable=SC2086  # two words
    begin ${waiting[0]}
    waiting=("${waiting[@]:1}")
  done
}

begin() { # token, type
  now
  state[$1]=running began[$1]=$FOUND
  running=$((running + 1))
  background "$folder/$1" run "$1" "$2"
  later $STARTED_AFTER tell_started "$1"
}

run() { # token, type; in a process of its own
  amqp_close_socket
  trap - PIPE
  local place=$folder/$1
  mkdir "$place/tmp"
  (
    set -e -o pipefail
    export TMPDIR=$place/tmp
    "${HANDLERS[$2]}" <"$place/args" >"$place/report" 2>"$place/errors"
  ) {EVENTS}>&-
  tell ended "$1" $?
}

ended() { # token, exit code
  local place=$folder/$1
  [[ ${state[$1]-} == running ]] || return 0
  running=$((running - 1))
  state[$1]=ended outcome[$1]=finished
  if (($2 != 0)); then
    outcome[$1]=failed
    jq -n --argjson exit "$2" --rawfile message "$place/errors" '{
      code: (if $exit == 65 then "invalid_args" else "exit_\($exit)" end),
      message: ($message | rtrimstr("\n") | .[-20000:]),
      retry: ($exit != 65)
    }' >"$place/report"
  fi
  report_outcome "$1"
  begin_next
}

cancel() { # file with the body of the control message
  local token index
  for token in $(jq -r '.tokens[] | select(test("^[[:alnum:]._:@=+-]+$"))' "$1"); do
    case ${state[$token]-} in
      '') remember_canceled "$token" ;;
      waiting)
        for index in "${!waiting[@]}"; do
          [[ ${waiting[$index]} == "$token "* ]] && unset 'waiting[index]'
        done
        waiting=("${waiting[@]}")
        give_back "$token" canceled
        ;;
      running)
        end "$folder/$token"
        running=$((running - 1))
        give_back "$token" canceled
        ;;
    esac
  done
  begin_next
}

# A cancel may overtake the message of its job.
remember_canceled() { # token
  canceled[$1]=1
  canceled_order+=("$1")
  if ((${#canceled_order[@]} > REMEMBERED)); then
    unset "canceled[${canceled_order[0]}]"
    canceled_order=("${canceled_order[@]:1}")
  fi
}

# --- reports -------------------------------------------------------------------------------------

give_back() { # token, reason
  state[$1]=ended outcome[$1]=released
  echo "{\"reason\": \"$2\"}" >"$folder/$1/report"
  report_outcome "$1"
}

tell_started() { # token
  [[ ${state[$1]-} == running ]] || return 0
  echo "{\"worker\": \"$HOSTNAME/$$\"}" >"$folder/started"
  report "$1" started "" "$folder/started"
}

report_outcome() { # token
  local started=''
  if [[ ${outcome[$1]} != released ]]; then
    short_string started && printf -v started '%s6C%016X' "$FOUND" "${began[$1]}"
  fi
  report "$1" "${outcome[$1]}" "$started" "$folder/$1/report" && confirming[published]=$1
}

report() { # token, type, table of headers, file
  [[ $ready ]] || return # it is reported over the next connection
  published=$((published + 1))
  amqp_publish $REPORTS "$namespace.reports" reports "$2" "$1" "$3" "$4"
}

# The job is acknowledged when its last report is confirmed, not before.
on_confirmed() { # number, "1" if it means all up to it
  local number token
  for number in "${!confirming[@]}"; do
    ((number == $1 || ($2 && number < $1))) || continue
    token=${confirming[$number]}
    unset "confirming[$number]"
    state[$token]=reported
    acknowledge "$token"
  done
}

acknowledge() { # token
  [[ ${state[$1]} == reported && ${message[$1]} ]] || return 0
  # shellcheck disable=SC2086  # two words
  amqp_ack ${message[$1]}
  forget "$1"
}

forget() { # token
  rm -rf "${folder:?}/$1"
  unset "message[$1]" "state[$1]" "began[$1]" "outcome[$1]"
}

# --- the end -------------------------------------------------------------------------------------

request_stop() {
  local FOUND # it may interrupt whoever has just set it
  now
  stop_by=${stop_by:-$((FOUND + STOP_WITHIN))}
  tell stop
}

stop() {
  local channel
  log "stopping, $running jobs still run"
  for channel in "${!consuming[@]}"; do amqp_cancel "$channel"; done
  consuming=()
  while ((${#waiting[@]})); do
    give_back "${waiting[0]%% *}" "the worker stops"
    waiting=("${waiting[@]:1}")
  done
}

may_leave() {
  local each
  [[ $stop_by ]] || return 1
  now
  ((FOUND > stop_by)) && return 0
  for each in "${state[@]}"; do [[ $each == reported ]] || return 1; done
}

# Does what is due, and sets WAIT to the seconds until the next thing is, one at most.
do_what_is_due() {
  local at event
  WAIT=1000
  for at in "${!timers[@]}"; do
    now
    if ((at > FOUND)); then
      WAIT=$((at - FOUND < WAIT ? at - FOUND : WAIT))
      break
    fi
    read -r -a event <<<"${timers[at]}"
    unset 'timers[at]'
    "${event[@]}"
  done
  printf -v WAIT '%d.%03d' $((WAIT / 1000)) $((WAIT % 1000))
}

# A function, so that bash has read all of this file before it begins.
main() {
  local line event half=''
  trap '' PIPE
  trap request_stop TERM INT
  background "$folder/tidying" tidy_up
  rm "$folder/tidying/process"
  log "taking jobs from ${types[*]/#/$namespace.jobs.} at ${url/\/\/*@/\/\/}"
  connect
  until may_leave; do
    do_what_is_due
    if IFS= read -r -t "$WAIT" line <&"$EVENTS"; then
      read -r -a event <<<"$half$line"
      "${event[@]}"
      half=''
    else
      half+=$line # the time was over in the middle of a line, perhaps after a blank
    fi
  done
  [[ $AMQP_SOCKET ]] && amqp_close
  log "stopped"
  exit 0
}

main
