#!/bin/bash
# Two "machines" made of network namespaces with a cable between them: does a run go across it, survive a bad line,
# end when the cable is cut, and go on afterwards? Needs root and, for the bad line, the kernel's netem or its tunnels:
#
#     test/dist/namespaces.sh
#
# Nothing of the machine's own network is touched. Exit code 0: all well; 77: not permitted here.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
main=$root/dist/cli/main.js
skip() { echo "skipped: $1"; exit 77; }
[ "$(id -u)" = 0 ] || skip 'this needs root'
command -v ip >/dev/null || skip 'there is no ip (iproute2)'
[ -f "$main" ] || skip "there is no $main; run npm run setup"

id=$$
first=esvit-a-$id
second=esvit-b-$id
work=$(mktemp -d)
marker=ESVIT_TEST_RUN=$id
# The processes of this test and no others, by what is in their environment.
alive() { grep -lsz "^$marker\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | grep -vx "$$" | grep -vx "$BASHPID"; }
clean() {
  for pid in $(alive); do kill -KILL "$pid" 2>/dev/null; done
  ip netns del "$first" 2>/dev/null
  ip netns del "$second" 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT
ip netns add "$first" 2>/dev/null || skip 'network namespaces are not permitted'
ip netns add "$second" || exit 1
ip link add veth-a netns "$first" type veth peer name veth-b netns "$second" || skip 'veth pairs are not permitted'
ip -n "$first" addr add 10.77.0.1/24 dev veth-a
ip -n "$second" addr add 10.77.0.2/24 dev veth-b
for end in "$first veth-a" "$second veth-b"; do
  read -r space device <<<"$end"
  ip -n "$space" link set lo up
  ip -n "$space" link set "$device" up
done

failures=0
check() { # description, condition's status
  if [ "$2" -eq 0 ]; then echo "ok      $1"; else echo "FAILED  $1"; failures=$((failures + 1)); fi
}
node "$main" sample-data "$work/pictures" --per_class 8 --val_per_class 1 --size 40 --quiet || exit 1

# launch NAME EPOCHS: both machines, each in its namespace; the codes of both in $codes
launch() {
  local pids=() rank space
  for rank in 0 1; do
    space=$first
    [ $rank = 1 ] && space=$second
    env "$marker" ip netns exec "$space" node "$main" launch --nnodes 2 --node_rank $rank --master_addr 10.77.0.1 \
      --master_port 29511 --nproc_per_node 1 --grace_seconds 20 --log_dir "$work/logs-$rank" -- \
      train --cfg "$root/test/fixtures/micro.yaml" --data_path "$work/pictures" --output_dir "$work/$1" --epochs "$2" \
      --threads 1 --dist_timeout 20 --checkpoint_every_iterations 2 >"$work/$1-$rank.txt" 2>&1 &
    pids+=($!)
  done
  codes=()
  if [ -n "${3:-}" ]; then "$3"; fi
  for pid in "${pids[@]}"; do
    wait "$pid"
    codes+=($?)
  done
}
show() { tail -n 3 "$work/$1-0.txt" "$work/$1-1.txt"; }
both() { [ "${codes[0]}" -eq "$1" ] && [ "${codes[1]}" -eq "$1" ]; }

launch plain 2
both 0; check 'a run goes across the cable' $?
[ "$failures" -eq 0 ] || show plain

if ip netns exec "$first" tc qdisc add dev veth-a root netem delay 25ms loss 1% 2>/dev/null &&
  ip netns exec "$second" tc qdisc add dev veth-b root netem delay 25ms loss 1% 2>/dev/null; then
  launch slow 2
  both 0; check 'a run survives 50 ms there and back and 1% loss' $?
  both 0 || show slow
  ip netns exec "$first" tc qdisc del dev veth-a root
  ip netns exec "$second" tc qdisc del dev veth-b root
elif [ -c /dev/net/tun ] && command -v python3 >/dev/null; then
  # Without netem: a tunnel in place of the cable, and a process that delays and drops its packets.
  for end in "$first veth-a" "$second veth-b"; do
    read -r space device <<<"$end"
    ip -n "$space" addr flush dev "$device"
  done
  env "$marker" python3 "$root/test/dist/bad-line.py" "$first" 10.77.0.1 "$second" 10.77.0.2 25 0.01 >"$work/line.txt" 2>&1 &
  line=$!
  for _ in $(seq 50); do
    grep -q 'is up' "$work/line.txt" && break
    sleep 0.2
  done
  ip netns exec "$first" ping -c 3 10.77.0.2 2>/dev/null | tail -n 1
  launch slow 2
  both 0; check 'a run survives 50 ms there and back and 1% loss (a tunnel in place of netem)' $?
  both 0 || show slow
  kill -TERM "$line"
  wait "$line"
  cat "$work/line.txt"
  ip -n "$first" addr add 10.77.0.1/24 dev veth-a
  ip -n "$second" addr add 10.77.0.2/24 dev veth-b
else
  echo 'skipped a run over a bad line: neither netem nor tunnels are to be had'
fi

cut_cable() {
  for _ in $(seq 600); do
    [ -f "$work/cut/checkpoint.pth" ] && break
    sleep 0.2
  done
  ip -n "$first" link set veth-a down
  echo "the cable is cut"
}
launch cut 400 cut_cable
[ "${codes[0]}" -ne 0 ] && [ "${codes[1]}" -ne 0 ]; check "both machines end when the cable is cut (codes ${codes[*]})" $?
grep -h '^error: ' "$work/cut-0.txt" "$work/cut-1.txt"
grep -q '^error: rank [01] on ' "$work/cut-0.txt"; check 'rank 0 says who is gone' $?
for _ in $(seq 100); do
  [ -z "$(alive)" ] && break
  sleep 0.2
done
[ -z "$(alive)" ]; check 'no process is left' $?

ip -n "$first" link set veth-a up
epoch=$(($(grep -c . "$work/cut/log.txt" 2>/dev/null || echo 0) + 2))
launch cut "$epoch"
both 0; check "the run goes on when the cable is whole again (to epoch $epoch)" $?
both 0 || show cut
grep -q 'Going on with the run' "$work/cut-0.txt"; check 'and not from the beginning' $?

echo "$failures failures"
[ "$failures" -eq 0 ]
