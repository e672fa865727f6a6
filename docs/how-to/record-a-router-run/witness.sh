#!/usr/bin/env bash
# Records a run against a daemon that is installed on this machine: ./witness.sh frr|bird|gobgp OUT [TIDEGATE [FLAGS...]]
# FLAGS are further flags of record.sh.
# It is how the records of those three in bgp/profile/evidence were made, and how record.sh itself is tried out.
# Run it as root, best in a network namespace of its own:  sudo unshare -n ./witness.sh frr frr.json
set -euo pipefail

here=$(dirname "$(realpath "$0")")
kind=${1:?frr, bird or gobgp}
out=$(realpath -m "${2:?a file for the record}")
tidegate=${3:-tidegate}
neighbours="127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4"
limit=12 # of rules from one neighbour

ip link set lo up
dir=$(mktemp -d)
pid=0
cleanup() {
  if [ "$pid" -gt 0 ]; then kill "$pid" 2>/dev/null || true; fi
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT

# shellcheck source=/dev/null
system=$(. /etc/os-release && echo "$PRETTY_NAME, Linux $(uname -r | cut -d- -f1)")
flags=("${@:4}")
case $kind in
  frr)
    address=127.0.0.11 asn=65010 show="vtysh --vty_socket $dir/frr -d bgpd -c"
    software="FRRouting bgpd $(dpkg-query -W -f '${Version}' frr)"
    {
      echo "router bgp $asn"
      echo " bgp router-id $address"
      echo ' no bgp ebgp-requires-policy'
      echo ' no bgp default ipv4-unicast'
      for n in $neighbours; do
        echo " neighbor $n remote-as 65001"
        echo " neighbor $n passive"
        echo " neighbor $n disable-connected-check"
      done
      for family in ipv4 ipv6; do
        echo " address-family $family flowspec"
        for n in $neighbours; do echo "  neighbor $n activate"; done
        echo ' exit-address-family'
      done
    } >"$dir/bgpd.conf"
    mkdir "$dir/frr"
    /usr/lib/frr/bgpd -S -Z -n -p 1790 -l $address -f "$dir/bgpd.conf" -i "$dir/frr/bgpd.pid" --vty_socket "$dir/frr" -P 0 \
      >"$dir/log" 2>&1 &
    ;;
  bird)
    address=127.0.0.12 asn=65020 show="birdc -r -s $dir/bird.ctl"
    software="BIRD $(dpkg-query -W -f '${Version}' bird2)"
    flags+=(--max-prefix "$limit")
    {
      echo "router id $address;"
      echo 'flow4 table ft4; flow6 table ft6;'
      echo 'protocol device {}'
      for n in $neighbours; do
        echo "protocol bgp n${n##*.} {"
        echo "  local $address port 1790 as $asn; neighbor $n as 65001;"
        echo '  multihop; strict bind on; passive on; error wait time 1, 5;'
        echo "  flow4 { table ft4; import all; export none; import limit $limit action disable; };"
        echo '  flow6 { table ft6; import all; export none; };'
        echo '}'
      done
    } >"$dir/bird.conf"
    bird -f -c "$dir/bird.conf" -s "$dir/bird.ctl" >"$dir/log" 2>&1 &
    ;;
  gobgp)
    address=127.0.0.14 asn=65040 show="gobgp -u 127.0.0.14 -p 50051"
    software="GoBGP gobgpd $(dpkg-query -W -f '${Version}' gobgpd)"
    {
      echo '[global.config]'
      echo "  as = $asn"
      echo "  router-id = \"$address\""
      echo '  port = 1790'
      echo "  local-address-list = [\"$address\"]"
      for n in $neighbours; do
        echo '[[neighbors]]'
        echo '  [neighbors.config]'
        echo "    neighbor-address = \"$n\""
        echo '    peer-as = 65001'
        echo '  [neighbors.transport.config]'
        echo '    passive-mode = true'
        for family in ipv4 ipv6; do
          echo '  [[neighbors.afi-safis]]'
          echo '    [neighbors.afi-safis.config]'
          echo "      afi-safi-name = \"$family-flowspec\""
        done
      done
    } >"$dir/gobgpd.toml"
    gobgpd -f "$dir/gobgpd.toml" --pprof-disable --api-hosts $address:50051 >"$dir/log" 2>&1 &
    ;;
  *)
    echo "witness.sh: unknown daemon $kind: frr, bird or gobgp" >&2
    exit 2
    ;;
esac
pid=$!
sleep 2
kill -0 $pid 2>/dev/null || { cat "$dir/log" >&2; exit 1; }

"$here/record.sh" --profile "$kind" --kind "$kind" --software "$software" --system "$system" --router $address --port 1790 \
  --asn $asn --local "127.0.0.1 127.0.0.2 127.0.0.3" --local-asn 65001 --extra 127.0.0.4 --show "$show" --out "$out" \
  --tidegate "$tidegate" "${flags[@]}"
