#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# record_frr.sh RECORDER OUTDIR: runs FRR (zebra, staticd, bgpd) in a router's namespace with two BGP peers, both
# families, and records what the router's kernel tells. Root. Makes tests/data/frr-*.nlmsg.
set -eu
REC=$1; OUT=$2
NS="mrsync-r mrsync-p1 mrsync-p2"
PIDS=()
cleanup() { for d in $NS; do for f in /var/run/frr/$d/*.pid; do [ -e "$f" ] && kill $(cat $f) 2>/dev/null || true; done; done
  for d in $NS; do for f in /var/run/frr/$d/*.pid; do [ -e "$f" ] && tail -s 0.1 --pid=$(cat $f) -f /dev/null || true; done; done
  for d in $NS; do ip netns del $d 2>/dev/null || true; rm -rf /etc/frr/$d /var/run/frr/$d; done; }
trap cleanup EXIT
for n in $NS; do ip netns add $n; ip netns exec $n ip link set lo up; ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0; done
for i in 1 2; do
  ip -n mrsync-r link add e$i type veth peer name e0 netns mrsync-p$i
  for f in mrsync-r:e$i mrsync-p$i:e0; do n=${f%:*}; l=${f#*:}; done
  ip -n mrsync-r addr add 192.0.2.$((i*8+1))/29 dev e$i; ip -n mrsync-r addr add 2001:db8:$i::1/64 dev e$i nodad
  ip -n mrsync-p$i addr add 192.0.2.$((i*8+2))/29 dev e0; ip -n mrsync-p$i addr add 2001:db8:$i::2/64 dev e0 nodad
  ip -n mrsync-r link set e$i up; ip -n mrsync-p$i link set e0 up
done
mkfifo /tmp/mrsync-stop.$$; exec 9<>/tmp/mrsync-stop.$$
nsenter --net=/run/netns/mrsync-r "$REC" $OUT/frr-8.4.4-events.nlmsg $OUT/frr-8.4.4-final.nlmsg </tmp/mrsync-stop.$$ >/tmp/mrsync-rec.$$ & RECPID=$!
until grep -q recording /tmp/mrsync-rec.$$; do sleep 0.05; done
for n in $NS; do mkdir -p /etc/frr/$n /var/run/frr/$n; chown -R frr:frr /etc/frr/$n /var/run/frr/$n; : >/etc/frr/$n/vtysh.conf; done
cat >/etc/frr/mrsync-r/frr.conf <<C
hostname r
ip route 203.0.113.0/24 192.0.2.10
ip route 203.0.113.64/26 blackhole
ip route 198.18.0.0/15 192.0.2.10
ip route 198.18.0.0/15 192.0.2.18
ipv6 route 2001:db8:f00::/48 2001:db8:1::2
ipv6 route 2001:db8:bad::/48 blackhole
router bgp 64500
 bgp router-id 192.0.2.9
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 neighbor 192.0.2.10 remote-as 64501
 neighbor 192.0.2.18 remote-as 64502
 neighbor 2001:db8:1::2 remote-as 64501
 neighbor 2001:db8:2::2 remote-as 64502
 address-family ipv4 unicast
  maximum-paths 4
  no neighbor 2001:db8:1::2 activate
  no neighbor 2001:db8:2::2 activate
 address-family ipv6 unicast
  maximum-paths 4
  neighbor 2001:db8:1::2 activate
  neighbor 2001:db8:2::2 activate
C
for i in 1 2; do cat >/etc/frr/mrsync-p$i/frr.conf <<C
hostname p$i
ip route 10.0.0.0/8 blackhole
ip route 10.$i.0.0/16 blackhole
ipv6 route 2001:db8:1000::/36 blackhole
ipv6 route 2001:db8:${i}000::/40 blackhole
router bgp 6450$i
 bgp router-id 192.0.2.$((i*8+2))
 no bgp ebgp-requires-policy
 neighbor 192.0.2.$((i*8+1)) remote-as 64500
 neighbor 2001:db8:$i::1 remote-as 64500
 address-family ipv4 unicast
  network 10.0.0.0/8
  network 10.$i.0.0/16
  no neighbor 2001:db8:$i::1 activate
 address-family ipv6 unicast
  network 2001:db8:1000::/36
  network 2001:db8:${i}000::/40
  neighbor 2001:db8:$i::1 activate
C
done
for n in $NS; do
  nsenter --net=/run/netns/$n /usr/lib/frr/zebra -N $n -d
  until [ -S /var/run/frr/$n/zserv.api ]; do sleep 0.1; done
  for d in staticd bgpd; do nsenter --net=/run/netns/$n /usr/lib/frr/$d -N $n -d; done
  vtysh -N $n -b
done
wait_for() { for _ in $(seq 200); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "timeout: $1" >&2; ip -n mrsync-r route; ip -n mrsync-r -6 route; return 1; }
R4() { ip -n mrsync-r route show $1; }; R6() { ip -n mrsync-r -6 route show $1; }
wait_for '[ $(R4 10.0.0.0/8 | grep -c via) = 2 ] && R4 10.1.0.0/16 | grep -q via && R4 10.2.0.0/16 | grep -q via'
wait_for '[ $(R6 2001:db8:1000::/36 | grep -c via) = 2 ] && R6 2001:db8:2000::/40 | grep -q via'
# withdraw at one peer, then announce anew
vtysh -N mrsync-p2 -c 'conf t' -c 'router bgp 64502' -c 'address-family ipv4 unicast' -c 'no network 10.0.0.0/8' -c 'address-family ipv6 unicast' -c 'no network 2001:db8:1000::/36' -c 'no network 2001:db8:2000::/40'
wait_for '[ $(R4 10.0.0.0/8 | grep -c via) = 1 ] && [ $(R6 2001:db8:1000::/36 | grep -c via) = 1 ] && [ -z "$(R6 2001:db8:2000::/40)" ]'
vtysh -N mrsync-p2 -c 'conf t' -c 'router bgp 64502' -c 'address-family ipv4 unicast' -c 'network 10.0.0.0/8' -c 'address-family ipv6 unicast' -c 'network 2001:db8:1000::/36' 
wait_for '[ $(R4 10.0.0.0/8 | grep -c via) = 2 ] && [ $(R6 2001:db8:1000::/36 | grep -c via) = 2 ]'
# another static gateway in place of the first, a static route that goes
vtysh -N mrsync-r -c 'conf t' -c 'no ip route 203.0.113.0/24 192.0.2.10' -c 'ip route 203.0.113.0/24 192.0.2.18' -c 'no ipv6 route 2001:db8:f00::/48 2001:db8:1::2'  -c 'ipv6 route 2001:db8:f00::/48 2001:db8:2::2'
wait_for 'R4 203.0.113.0/24 | grep -q 192.0.2.18 && R6 2001:db8:f00::/48 | grep -q 2001:db8:2::2'
ip netns exec mrsync-r ping -qc1 192.0.2.10 >/dev/null; ip netns exec mrsync-r ping -qc1 192.0.2.18 >/dev/null
ip netns exec mrsync-r ping -qc1 2001:db8:1::2 >/dev/null; ip netns exec mrsync-r ping -qc1 2001:db8:2::2 >/dev/null
wait_for '[ $(ip -n mrsync-r neigh | grep -c REACHABLE) = 4 ]'
ip -n mrsync-r route; ip -n mrsync-r -6 route; ip -n mrsync-r nexthop; ip -n mrsync-r neigh
echo >&9; wait $RECPID
rm -f /tmp/mrsync-stop.$$ /tmp/mrsync-rec.$$
ls -l $OUT
