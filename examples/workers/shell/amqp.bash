# shellcheck shell=bash
# As much of AMQP 0-9-1 as a worker needs, over /dev/tcp.
#
# A variable of bash cannot hold a NUL, so octets are hexadecimal digits here. Nothing waits for an
# answer: what comes is told to whoever listens, see amqp_listen.

readonly AMQP_PREAMBLE=414D515000000901 AMQP_HEARTBEAT=30 SILENCE=60 # seconds
AMQP_SOCKET='' AMQP_FRAME_MAX=4096

# --- writing -----------------------------------------------------------------------------------

amqp_send() { # hexadecimal digits
  local i octets=
  for ((i = 0; i < ${#1}; i += 2)); do octets+="\\x${1:i:2}"; done
  printf '%b' "$octets" >&"$AMQP_SOCKET"
} 2>/dev/null

# Each of these sets FOUND, which spares a process for each value.
octets_of() { # text
  local LC_ALL=C i code
  FOUND=
  for ((i = 0; i < ${#1}; i++)); do
    printf -v code '%d' "'${1:i:1}"
    printf -v code '%02X' $((code & 255))
    FOUND+=$code
  done
}

short_string() { # text
  octets_of "$1"
  printf -v FOUND '%02X%s' $((${#FOUND} / 2)) "$FOUND"
}

long_string() { # hexadecimal digits
  printf -v FOUND '%08X%s' $((${#1} / 2)) "$1"
}

frame() { # type, channel, payload
  printf -v FOUND '%02X%04X%08X%sCE' "$1" "$2" $((${#3} / 2)) "$3"
}

# Sends a method. Its arguments are given in pairs of kind and value:
# octet, short, long, longlong, text (a short string), raw (hexadecimal digits).
amqp_call() { # channel, class, method, arguments...
  local channel=$1 payload value
  printf -v payload '%04X%04X' "$2" "$3"
  shift 3
  while (($#)); do
    case $1 in
      octet) printf -v value '%02X' "$2" ;;
      short) printf -v value '%04X' "$2" ;;
      long) printf -v value '%08X' "$2" ;;
      longlong) printf -v value '%016X' "$2" ;;
      text) short_string "$2" && value=$FOUND ;;
      raw) value=$2 ;;
    esac
    payload+=$value
    shift 2
  done
  frame 1 "$channel" "$payload"
  amqp_send "$FOUND"
}

amqp_open_socket() { # host, port
  exec {AMQP_SOCKET}<>"/dev/tcp/$1/$2" && amqp_send "$AMQP_PREAMBLE"
} 2>/dev/null

# Processes that are started with the socket open keep it open, so each of them calls this first.
amqp_close_socket() {
  [[ ! $AMQP_SOCKET ]] || exec {AMQP_SOCKET}>&-
  AMQP_SOCKET=''
}

amqp_start_ok() { # user, password
  local properties=00 response table
  octets_of "$1" && response=00$FOUND
  octets_of "$2" && response+=00$FOUND
  # capabilities: basic.nack, consumer_cancel_notify
  short_string basic.nack && table=${FOUND}7401
  short_string consumer_cancel_notify && table+=${FOUND}7401
  long_string "$table" && table=$FOUND
  short_string capabilities && long_string "${FOUND}46$table" && properties=$FOUND
  long_string "$response"
  amqp_call 0 10 11 raw "$properties" text PLAIN raw "$FOUND" text en_US
}

amqp_tune_ok() { # greatest channel, greatest frame
  AMQP_FRAME_MAX=$(($2 ? $2 : 131072)) # 0 is no limit
  amqp_call 0 10 31 short "$1" long "$2" short "$AMQP_HEARTBEAT"
}
amqp_open_vhost() { amqp_call 0 10 40 text "$1" octet 0 octet 0; }
amqp_beat() { amqp_send 08000000000000CE; }
amqp_close() { amqp_call 0 10 50 short 200 text bye short 0 short 0; }
amqp_open_channel() { amqp_call "$1" 20 10 octet 0; }
amqp_close_channel_ok() { amqp_call "$1" 20 41; }
amqp_select_confirms() { amqp_call "$1" 85 10 octet 0; }

# An exclusive queue with a name of the broker's; an empty queue name means it from then on.
amqp_declare_exclusive() { amqp_call "$1" 50 10 short 0 text "" octet 4 long 0; }
amqp_bind() { # channel, exchange, routing key
  amqp_call "$1" 50 20 short 0 text "" text "$2" text "$3" octet 0 long 0
}
amqp_prefetch() { amqp_call "$1" 60 10 long 0 short "$2" octet 0; } # channel, messages
amqp_consume() { # channel, queue, 2 to acknowledge nothing or 0
  amqp_call "$1" 60 20 short 0 text "$2" text consumer octet "$3" long 0
}
amqp_cancel() { amqp_call "$1" 60 30 text consumer octet 0; }     # channel
amqp_ack() { amqp_call "$1" 60 80 longlong "$2" octet 0; }        # channel, delivery tag
amqp_reject() { amqp_call "$1" 60 90 longlong "$2" octet 0; }     # the same; not put back

# Publishes a file as a persistent message of JSON.
amqp_publish() { # channel, exchange, routing key, type, correlation id, table of headers, file
  local channel=$1 headers=$6 file=$7 size method properties at part=$((AMQP_FRAME_MAX - 8))
  size=$(stat --format=%s "$file")
  printf -v method '%04X%04X%04X' 60 40 0
  short_string "$2" && method+=$FOUND
  short_string "$3" && method+=${FOUND}00
  # flags of: content type, headers, delivery mode, correlation id, type
  printf -v properties '%04X%04X%016X%04X' 60 0 "$size" $((0x8000 | 0x2000 | 0x1000 | 0x0400 | 0x0020))
  short_string application/json && properties+=$FOUND
  long_string "$headers" && properties+=${FOUND}02
  short_string "$5" && properties+=$FOUND
  short_string "$4" && properties+=$FOUND
  frame 1 "$channel" "$method" && method=$FOUND
  frame 2 "$channel" "$properties"
  amqp_send "$method$FOUND" || return
  for ((at = 0; at < size; at += part)); do
    ((part <= size - at)) || part=$((size - at))
    printf -v FOUND '%02X%04X%08X' 3 "$channel" "$part"
    amqp_send "$FOUND" && tail --bytes=+$((at + 1)) "$file" | head --bytes="$part" >&"$AMQP_SOCKET" &&
      amqp_send CE || return
  done
}

# --- reading -----------------------------------------------------------------------------------

# Reads frames until the connection ends, and passes on what matters as the arguments of a command:
#
#   start · tune CHANNEL_MAX FRAME_MAX · opened · channel_opened CHANNEL · consuming CHANNEL · consumer_gone CHANNEL
#   delivery CHANNEL TAG TYPE CORRELATION_ID PROTOCOL FILE   - for what is not there or unreadable
#   confirmed TAG MULTIPLE · refused · channel_closed CHANNEL CODE TEXT · closed CODE TEXT · lost
#
# Nobody but this process reads the socket.
amqp_listen() { # command, folder for bodies
  local LC_ALL=C command=$1 folder=$2 type channel size count=0 DATA FOUND
  local -a tags announced files missing # of the message that comes on each channel
  trap - PIPE
  while receive 7; do
    number 1 && type=$FOUND
    number 2 && channel=$FOUND
    number 4 && size=$FOUND
    case $type in
      1) receive $((size + 1)) && method ;;
      2)
        receive $((size + 1)) && content_header
        files[channel]=$folder/$((count++))
        : >"${files[channel]}"
        ;;
      3)
        timeout --foreground $SILENCE head --bytes="$size" <&"$AMQP_SOCKET" >>"${files[channel]}"
        receive 1
        missing[channel]=$((missing[channel] - size))
        ;;
      *) receive $((size + 1)) ;;
    esac
    if ((type > 1 && type < 4 && missing[channel] == 0)); then
      # shellcheck disable=SC2086  # three words
      $command delivery "$channel" "${tags[channel]}" ${announced[channel]} "${files[channel]}"
    fi
  done
  $command lost
}

# Sets DATA to the next octets; fails if there are not that many.
receive() { # octets
  local i octet
  DATA=
  for ((i = 0; i < $1; i++)); do
    IFS= read -r -d '' -n 1 -t $SILENCE -u "$AMQP_SOCKET" octet || return # a NUL is read as nothing
    printf -v octet '%d' "'$octet"
    printf -v octet '%02X' $((octet & 255))
    DATA+=$octet
  done
}

# These take from the beginning of DATA and set FOUND.
octets() { # how many
  FOUND=${DATA:0:2*$1}
  DATA=${DATA:2*$1}
}

number() { # octets
  octets "$1"
  FOUND=$((16#$FOUND))
}

# Takes a short string. What is more than a plain word could be mistaken for syntax: it becomes `?`.
text() {
  number 1
  octets "$FOUND"
  local i escaped=
  for ((i = 0; i < ${#FOUND}; i += 2)); do escaped+="\\x${FOUND:i:2}"; done
  printf -v FOUND '%b' "$escaped"
  FOUND=${FOUND//[^[:alnum:]._:@=+-]/?}
  FOUND=${FOUND:--}
}

method() {
  local code first
  number 2 && code=$FOUND
  number 2 && code+=.$FOUND
  case $code in
    10.10) $command start ;;
    10.30)
      number 2 && first=$FOUND
      number 4 && $command tune "$first" "$FOUND"
      ;;
    10.41) $command opened ;;
    10.50 | 20.40)
      number 2 && first=$FOUND
      text
      if [[ $code == 10.50 ]]; then $command closed "$first" "$FOUND"; else $command channel_closed "$channel" "$first" "$FOUND"; fi
      ;;
    20.11) $command channel_opened "$channel" ;;
    60.21) $command consuming "$channel" ;;
    60.30) $command consumer_gone "$channel" ;;
    60.60)
      text
      number 8 && tags[channel]=$FOUND
      ;;
    60.80)
      number 8 && first=$FOUND
      number 1 && $command confirmed "$first" "$FOUND"
      ;;
    60.120) $command refused ;;
  esac
}

# Notes what a message is before its body comes: its size, type, correlation id, header `protocol`.
content_header() {
  local flags job_type=- token=- version=-
  octets 4
  number 8 && missing[channel]=$FOUND
  number 2 && flags=$FOUND
  ((flags & 0x8000)) && text # content type
  ((flags & 0x4000)) && text # content encoding
  if ((flags & 0x2000)); then
    number 4
    octets "$FOUND"
    version=$(integer_of protocol "$FOUND")
  fi
  ((flags & 0x1000)) && octets 1 # delivery mode
  ((flags & 0x0800)) && octets 1 # priority
  ((flags & 0x0400)) && text && token=$FOUND
  ((flags & 0x0200)) && text # reply to
  ((flags & 0x0100)) && text # expiration
  ((flags & 0x0080)) && text # message id
  ((flags & 0x0040)) && octets 8 # timestamp
  ((flags & 0x0020)) && text && job_type=$FOUND
  announced[channel]="$job_type $token ${version:--}"
}

# Prints an integer of a table; nothing if it is not there, or the table cannot be read.
integer_of() { # name, table
  local DATA=$2 name type value=
  while [[ $DATA ]]; do
    text && name=$FOUND
    number 1
    printf -v type '%b' "\\x$(printf '%x' "$FOUND")"
    case $type in
      b | B | t) number 1 ;;
      s | u) number 2 ;;
      I | i) number 4 ;;
      l | L) number 8 ;;
      f) octets 4 ;;
      d | T) octets 8 ;;
      D) octets 5 ;;
      S | x | F | A) number 4 && octets "$FOUND" ;;
      V) ;;
      *) return ;;
    esac
    if [[ $name == "$1" && $type == [bBsuIilL] ]]; then value=$FOUND; fi
  done
  echo "$value"
}
