#!/usr/bin/env bash
# Records a run of tidegate against a router: README.md says what it needs and what each step asks.
#
#   ./record.sh --profile junos-mx --kind junos --software "vJunos-router 24.2R1" --system "containerlab on Debian 12" \
#     --router 192.0.2.11 --asn 65010 --local "192.0.2.1 192.0.2.2 192.0.2.3" --local-asn 65001 \
#     --show "ssh admin@192.0.2.11" --out junos-mx-24.2R1.json
#
# It never configures the router. It starts three nodes of tidegate here, in a directory of its own, and stops them.
set -uo pipefail

profile='' kind='' software='' system='' router='' port=179 asn='' locals='' local_asn='' show='' out='' extra='' traffic=''
max_prefix=0 tidegate=tidegate wait_seconds=60 md5_file='' multihop=0

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  cat <<'END'

  --profile NAME      the profile that the run is for, as in docs/reference/profiles.md
  --kind KIND         how to read the router: junos, iosxr, frr, bird, gobgp
  --software TEXT     what runs on the router, with its version
  --system TEXT       what that runs on
  --router ADDRESS    where the router listens for BGP; --port PORT if not 179
  --asn NUMBER        the router's AS
  --local "A B C"     three addresses of this machine, each a neighbour of the router
  --local-asn NUMBER  our AS
  --show COMMAND      runs one command on the router: it is appended as the last argument
  --out FILE          where the record goes

  --multihop N        the neighbours are N hops away (eBGP)
  --password FILE     the TCP-MD5 password of the sessions
  --extra ADDRESS     a fourth neighbour, for a gobgpd that announces a rule without an action
  --max-prefix N      the limit of ipv4 flowspec rules that the router's configuration has for each of the three
  --traffic COMMAND   sends packets of UDP from port 53 to 203.0.113.17 through the router and prints how many arrived
  --tidegate PATH     the program; --wait SECONDS for how long to wait for anything (60)
END
}

die() {
  echo "record.sh: $*" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --profile | --kind | --software | --system | --router | --port | --asn | --local | --local-asn | --show | --out | \
      --multihop | --password | --extra | --max-prefix | --traffic | --tidegate | --wait)
      [ $# -ge 2 ] || die "$1 needs a value"
      value=$2
      case $1 in
        --profile) profile=$value ;;
        --kind) kind=$value ;;
        --software) software=$value ;;
        --system) system=$value ;;
        --router) router=$value ;;
        --port) port=$value ;;
        --asn) asn=$value ;;
        --local) locals=$value ;;
        --local-asn) local_asn=$value ;;
        --show) show=$value ;;
        --out) out=$value ;;
        --multihop) multihop=$value ;;
        --password) md5_file=$value ;;
        --extra) extra=$value ;;
        --max-prefix) max_prefix=$value ;;
        --traffic) traffic=$value ;;
        --tidegate) tidegate=$value ;;
        --wait) wait_seconds=$value ;;
      esac
      shift 2
      ;;
    *) die "unknown flag $1; --help lists them" ;;
  esac
done

for needed in profile kind software system router asn locals local_asn show out; do
  [ -n "${!needed}" ] || die "--${needed//_/-} is missing; --help lists the flags"
done
read -r -a local_list <<<"$locals"
[ ${#local_list[@]} -eq 3 ] || die "--local needs three addresses, such as \"192.0.2.1 192.0.2.2 192.0.2.3\""
command -v jq >/dev/null || die "jq is needed to write the record"
command -v "$tidegate" >/dev/null || die "there is no program $tidegate; see --tidegate"
tidegate=$(command -v "$tidegate")
case $kind in junos | iosxr | frr | bird | gobgp) ;; *) die "unknown kind $kind: junos, iosxr, frr, bird or gobgp" ;; esac

# ---- reading the router -------------------------------------------------------------------------------------------------

ask() { # COMMAND
  # --show is a command line: it is meant to be split into words.
  if [ "$kind" = gobgp ]; then
    # shellcheck disable=SC2086
    $show $1 2>/dev/null </dev/null
  else
    # shellcheck disable=SC2086
    $show "$1" 2>/dev/null </dev/null
  fi
}

# table prints the router's rules for IPv4 with all of their paths.
table() {
  case $kind in
    junos) ask 'show route table inetflow.0 all | no-more' ;;
    iosxr) ask 'show bgp ipv4 flowspec' ;;
    frr) ask 'show bgp ipv4 flowspec' ;;
    bird) ask 'show route table ft4 all' ;;
    gobgp) ask 'global rib -a ipv4-flowspec' ;;
  esac
}

# A rule begins with a line that matches head; each line that matches path is one path of it.
case $kind in
  junos) head='^[^ ].*term' path='\[BGP/' ;;
  iosxr) head='Dest:' path='0\.0\.0\.0' ;;
  frr) head=' to [0-9]' path='^\*' ;;
  bird) head='^flow4' path='\[[^]]* from ' ;;
  gobgp) head='destination:' path='destination:' ;;
esac

# section prints the lines of the rule to that destination.
section() { # PREFIX
  awk -v dst="$1" -v head="$head" '
    $0 ~ head { inside = index($0, dst) > 0 }
    /^Displayed/ { inside = 0 }
    inside'
}

paths() { # PREFIX: how many paths the rule to it has
  table | section "$1" | grep -c -- "$path"
}

# best_discards says whether the path that the router has chosen discards: yes, no or unknown.
best_discards() { # PREFIX
  local text
  case $kind in
    junos) text=$(ask 'show route table inetflow.0 active-path detail | no-more' | section "$1" | grep -i 'traffic-rate') ;;
    iosxr) text=$(ask 'show flowspec ipv4 detail' | section "$1" | grep -i 'Traffic-rate') ;;
    bird) text=$(ask 'show route table ft4 primary all' | section "$1" | grep -i 'ext_community') ;;
    gobgp) text=$(table | section "$1" | grep '^\*>') ;;
    frr) text='' ;; # its tables show actions, or which path is best, never both
  esac
  case $text in
    '') echo unknown ;;
    *discard* | *'traffic-rate:0:0'* | *'Traffic-rate: 0 bps'* | *'0x80060000, 0x0)'*) echo yes ;;
    *) echo no ;;
  esac
}

# order prints the destinations in the order in which the router looks at them, or nothing if it does not.
order() {
  case $kind in
    junos) ask 'show firewall filter __flowspec_default_inet__ | no-more' ;;
    iosxr) ask 'show policy-map transient type pbr pmap-name __bgpfs_default_IPv4' ;;
    *) ;;
  esac
}

# validity says what the router's validation (RFC 8955 section 6) made of the rule: valid, invalid or unknown.
validity() { # PREFIX
  local text
  text=$(table | section "$1")
  case $kind in
    junos)
      if ask 'show route table inetflow.0 hidden | no-more' | grep -q -F -- "$1"; then echo invalid; else echo valid; fi
      ;;
    iosxr) if grep -q '^\*' <<<"$text"; then echo valid; else echo invalid; fi ;;
    bird) if grep -q unreachable <<<"$text"; then echo invalid; else echo valid; fi ;;
    *) echo unknown ;;
  esac
}

# ---- the record ----------------------------------------------------------------------------------------------------------

steps='[]' enforced=false

step() { # NAME RESULT SEEN
  steps=$(jq -c --arg name "$1" --arg result "$2" --arg seen "$3" '. + [{name: $name, result: $result, seen: $seen}]' <<<"$steps")
  printf '%-18s %-8s %s\n' "$1" "$2" "$3"
}

write_record() {
  jq -n --arg profile "$profile" --arg software "$software" --arg system "$system" --arg date "$(date -u +%F)" \
    --argjson enforced "$enforced" --argjson steps "$steps" \
    '{profile: $profile, software: $software, system: $system, date: $date,
      where: "docs/how-to/record-a-router-run/record.sh", enforced: $enforced, steps: $steps}' >"$out" &&
    echo "The record is in $out."
}

within() { # SECONDS COMMAND...: repeats it until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 1
  done
}

# ---- three nodes ---------------------------------------------------------------------------------------------------------

dir=$(mktemp -d) || die "cannot make a directory"
pids=(0 0 0) extra_pid=0

cleanup() {
  local pid
  for pid in "${pids[@]}" "$extra_pid"; do
    if [ "$pid" -gt 0 ]; then kill -CONT "$pid" 2>/dev/null; kill "$pid" 2>/dev/null; fi
  done
  wait 2>/dev/null
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

out=$(realpath -m "$out")
cd "$dir" || die "cannot use $dir"

tg() { "$tidegate" --server 127.0.0.1:7411,127.0.0.1:7412,127.0.0.1:7413 --tls-dir "$dir/admin" "$@"; }

start_node() { # INDEX from 0
  local n=$(($1 + 1))
  "$tidegate" serve --config "n$n.yaml" >>"n$n.log" 2>&1 &
  pids[$1]=$!
}

stop_node() { # INDEX SIGNAL
  kill "-$2" "${pids[$1]}" && wait "${pids[$1]}" 2>/dev/null
  pids[$1]=0
}

"$tidegate" pki init --dir authority --cluster record >/dev/null || die "tidegate cannot make certificates"
"$tidegate" pki issue admin/recorder --dir authority --out admin >/dev/null
for i in 0 1 2; do
  n=$((i + 1))
  "$tidegate" pki issue "member/n$n" --dir authority --host 127.0.0.1 --out "n$n/tls" >/dev/null
  cat >"n$n.yaml" <<END
node: n$n
data_dir: n$n/data
api: 127.0.0.1:741$n
http: 127.0.0.1:742$n
tls: {ca: n$n/tls/ca.pem, cert: n$n/tls/cert.pem, key: n$n/tls/key.pem}
bgp: {asn: $local_asn, router_id: ${local_list[$i]}, local_address: ${local_list[$i]}}
cluster:
  name: record
  raft: 127.0.0.1:743$n
  members:
    - {id: n1, raft: "127.0.0.1:7431", api: "127.0.0.1:7411"}
    - {id: n2, raft: "127.0.0.1:7432", api: "127.0.0.1:7412"}
    - {id: n3, raft: "127.0.0.1:7433", api: "127.0.0.1:7413"}
END
  if [ -n "$md5_file" ]; then
    install -m 600 "$md5_file" "n$n/password"
    echo "secrets: {router: n$n/password}" >>"n$n.yaml"
  fi
  start_node "$i"
done
leader() { tg cluster status 2>/dev/null | grep -q '^leader  *n[123]'; }
within "$wait_seconds" leader || die "the three nodes found no leader: $(tail -n 3 n1.log)"

# The limit is stated tenfold, so that the router's own can be reached: tidegate would stop before.
limit=3000
[ "$max_prefix" -gt 0 ] && limit=$((max_prefix * 10))
{
  cat <<END
kind: Customer
id: record
name: Documentation space
official: [203.0.113.0/24]
contacts: [nobody@example.net]
---
kind: Router
name: router
address: $router
port: $port
asn: $asn
group: record
profile: $profile
validation: disabled-by-import-policy
max_prefix: $limit
END
  [ "$multihop" -gt 0 ] && echo "multihop: $multihop"
  [ -n "$md5_file" ] && echo 'password_secret: router'
} >inventory.yaml
apply_flags=()
"$tidegate" help apply | grep -q -- --accept-untested && apply_flags=(--accept-untested)
tg apply "${apply_flags[@]}" -f inventory.yaml >/dev/null || die "the inventory was refused"

established() { tg peers 2>/dev/null | grep -c established; }
all_established() { [ "$(established)" = 3 ]; }
if ! within "$wait_seconds" all_established; then
  step session failed "$(tg peers 2>&1 | tail -n 3)"
  write_record
  exit 1
fi
step session passed 'three sessions are established'

mitigate() { # PREFIX MATCH ACTION...
  local target=$1 match=$2
  shift 2
  tg mitigation start --target "$target" --match "$match" "$@" --lifetime 30m --reason 'a recorded run' >/dev/null
}

has_paths() { [ "$(paths "$2")" -eq "$1" ]; }   # N PREFIX
at_least() { [ "$(paths "$2")" -ge "$1" ]; }    # N PREFIX

# ---- the questions -------------------------------------------------------------------------------------------------------

rule=203.0.113.16/28
[ -n "$traffic" ] && before=$($traffic 2>/dev/null | tail -n 1)
mitigate "$rule" 'proto udp sport 53' --discard
if within "$wait_seconds" at_least 1 "$rule"; then
  step received passed "$(table | section "$rule" | head -n 1 | tr -s ' \t' ' ')"
else
  step received failed "no rule to $rule is in the router's table"
  write_record
  exit 1
fi

if within "$wait_seconds" has_paths 3 "$rule"; then
  step paths passed 'one path from each of the three nodes'
else
  step paths failed "$(paths "$rule") paths of three nodes"
fi

case $(validity "$rule") in
  valid) step validation passed 'the rule is valid though no unicast route leads to its destination: validation is off, or follows RFC 9117' ;;
  invalid) step validation failed 'the rule is received and not valid: set RFC 9117, or turn validation off by import policy' ;;
  *) step validation skipped 'its commands do not say' ;;
esac

if [ -z "$traffic" ]; then
  step enforcement skipped 'no traffic was sent'
else
  sleep 5
  during=$($traffic 2>/dev/null | tail -n 1)
  if [ "${before:-0}" -gt 0 ] && [ "${during:-1}" -eq 0 ]; then
    enforced=true
    step enforcement passed "$before packets arrived before the rule, none with it"
  else
    step enforcement failed "${before:-?} packets arrived before the rule, ${during:-?} with it"
  fi
fi

# The wider rule first, so that the order of arrival is not the one that RFC 8955 section 5.1 asks for.
mitigate 203.0.113.32/28 'proto udp' --discard
within "$wait_seconds" at_least 1 203.0.113.32/28
mitigate 203.0.113.40/29 'proto tcp' --discard
within "$wait_seconds" at_least 1 203.0.113.40/29
sleep 5
seen=$(order)
narrow=$(grep -n -m 1 -F 203.0.113.40 <<<"$seen" | cut -d: -f1)
wide=$(grep -n -m 1 -F 203.0.113.32 <<<"$seen" | cut -d: -f1)
if [ -z "$seen" ]; then
  step order skipped 'no data plane, or none that shows its order'
elif [ -n "$narrow" ] && [ -n "$wide" ] && [ "$narrow" -lt "$wide" ]; then
  step order passed 'the longer prefix is looked at first (RFC 8955 section 5.1)'
else
  step order failed "the longer prefix is in line ${narrow:-?}, the shorter one in line ${wide:-?}: on Junos set term-order standard"
fi

# A node that ends withdraws its path; the rule stays while another node announces it.
stop_node 2 TERM
if within "$wait_seconds" has_paths 2 "$rule"; then
  step 'partial withdrawal' passed 'one node of three is gone, and with it one path; the rule stays'
else
  step 'partial withdrawal' failed "$(paths "$rule") paths after one node of three has ended"
fi
start_node 2
within "$wait_seconds" has_paths 3 "$rule" || step 'return' failed "$(paths "$rule") paths after the node came back"

# A node that hangs goes on announcing the old action; it has the lowest router id, and only the MED speaks against it.
med=203.0.113.48/28
mitigate "$med" 'proto udp dport 4500' --rate 8Mbps
within "$wait_seconds" has_paths 3 "$med"
lowest=0
for i in 1 2; do
  [ "$(printf '%s\n%s\n' "${local_list[$i]}" "${local_list[$lowest]}" | sort -V | head -n 1)" = "${local_list[$i]}" ] && lowest=$i
done
kill -STOP "${pids[$lowest]}"
retry_mitigate() { mitigate "$med" 'proto udp dport 4500' --discard 2>/dev/null; }
within 20 retry_mitigate
best_is() { [ "$(best_discards "$med")" = "$1" ]; }
if [ "$(best_discards "$med")" = unknown ]; then
  step med skipped 'its commands do not show the action of the path that it chose'
elif within 15 best_is yes; then
  step med passed 'it chose the newest action, though a node with a lower router id announces an older one'
else
  step med failed 'it chose the older action of the node with the lowest router id'
fi
kill -CONT "${pids[$lowest]}"
within "$wait_seconds" all_established

if [ -z "$extra" ] || ! command -v gobgpd >/dev/null || ! command -v gobgp >/dev/null; then
  step no-action skipped 'tidegate announces no such rule, and no gobgpd was there to do it (--extra)'
else
  cat >extra.toml <<END
[global.config]
  as = $local_asn
  router-id = "$extra"
  port = -1
[[neighbors]]
  [neighbors.config]
    neighbor-address = "$router"
    peer-as = $asn
  [neighbors.transport.config]
    local-address = "$extra"
    remote-port = $port
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 255
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-flowspec"
END
  gobgpd -f extra.toml --pprof-disable --api-hosts 127.0.0.1:7441 >extra.log 2>&1 &
  extra_pid=$!
  none=203.0.113.64/28
  announce() { gobgp -u 127.0.0.1 -p 7441 global rib -a ipv4-flowspec add match destination "$none" protocol udp "then" accept >/dev/null 2>&1; }
  within 20 announce
  if within "$wait_seconds" at_least 1 $none; then
    step no-action passed "it holds a rule without an action: $(table | section $none | head -n 1 | tr -s ' \t' ' ')"
  else
    step no-action failed 'it does not hold a rule without an action'
  fi
  kill "$extra_pid"
  wait "$extra_pid" 2>/dev/null
  extra_pid=0
fi

# tidegate does not negotiate graceful restart (RFC 4724): the other nodes' sessions hold the rules.
stop_node 0 KILL
gone=0
for _ in $(seq 1 10); do
  at_least 1 "$rule" || gone=$((gone + 1))
  sleep 1
done
start_node 0
if [ $gone -eq 0 ] && within "$wait_seconds" has_paths 3 "$rule"; then
  step restart passed 'one node was killed and started again; the rule never left, and has three paths again'
else
  step restart failed "the rule was missing in $gone of 10 looks, and has $(paths "$rule") paths"
fi
for i in 0 1 2; do stop_node "$i" KILL; done
start=$SECONDS
none_left() { ! at_least 1 "$rule"; }
if within $((wait_seconds * 3)) none_left; then left="left after $((SECONDS - start)) s"; else left="was held for $((SECONDS - start)) s and more"; fi
for i in 0 1 2; do start_node "$i"; done
start=$SECONDS
if within $((wait_seconds * 2)) has_paths 3 "$rule"; then
  step 'graceful restart' observed "all nodes were killed: without graceful restart the rule $left, and was back $((SECONDS - start)) s after their start"
else
  step 'graceful restart' failed "all nodes were killed: the rule $left, and has $(paths "$rule") paths after their start"
fi

# Last, since a router may keep sessions closed that were above the limit.
if [ "$max_prefix" -eq 0 ]; then
  step max-prefix skipped 'the limit of the router was not stated (--max-prefix)'
else
  within "$wait_seconds" leader
  for n in $(seq 1 "$max_prefix"); do
    mitigate 203.0.113.128/28 "proto tcp dport $((1000 + n))" --discard
  done
  sleep 10
  step max-prefix observed "with more than $max_prefix rules from each node $(established) of 3 sessions are established"
fi

write_record
