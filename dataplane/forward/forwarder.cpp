// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/forwarder.hpp"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include <utility>

#include "dataplane/forward/decisions.hpp"
#include "dataplane/forward/flow_hash.hpp"
#include "dataplane/forward/ip_input.hpp"
#include "dataplane/port/kick.hpp"

namespace millrace::dataplane {

namespace {
constexpr unsigned prefetch_ahead = 8;
constexpr uint32_t nowhere = UINT32_MAX;  // instead of an adjacency
}  // namespace

// Packets of a burst and of one family that passed the checks, in order of arrival.
template <class K>
struct Forwarder::Parsed {
    unsigned count = 0;
    std::array<IpPacket, burst_size> packets;
    std::array<rte_mbuf*, burst_size> frames;
    std::array<K, burst_size> keys;  // what is looked up

    void add(rte_mbuf* frame, const IpPacket& packet, const K& key) {
        packets[count] = packet;
        frames[count] = frame;
        keys[count++] = key;
    }
};

Forwarder::Forwarder(Tables& tables, std::vector<TxQueue> tx, std::vector<PuntRings> punt,
                     WorkerCounters& counters)
    : tables_(tables),
      tx_(std::move(tx)),
      punt_(std::move(punt)),
      counters_(counters),
      out_(tx_.size()),
      egress_(tx_.size()) {
    out_ports_.reserve(tx_.size());
}

void Forwarder::discard(rte_mbuf* frame, Reason reason) {
    ++reasons_[static_cast<unsigned>(reason)];
    rte_pktmbuf_free(frame);
}

void Forwarder::punt_or_discard(rte_mbuf* frame, Reason reason) {
    if (is_drop(reason)) {
        discard(frame, reason);
        return;
    }
    frame->port = ingress_;
    Punted& punted = kernel_carries_on(reason) ? carry_on_ : answer_;
    punted.reasons[punted.count] = reason;
    punted.frames[punted.count++] = frame;
}

// Group, adjacency and header of a packet are loads that wait for each other: so each step is done for all
// packets before the next one.
template <class K>
void Forwarder::forward(const Parsed<K>& parsed, const std::array<uint32_t, burst_size>& fib_values) {
    std::array<uint32_t, burst_size> ids;
    for (unsigned i = 0; i < parsed.count; ++i) {
        tables_.groups().prefetch(fib_values[i]);
    }
    for (unsigned i = 0; i < parsed.count; ++i) {
        const Group group = tables_.groups().get(fib_values[i]);
        if (group.reason() != Reason::forwarded) [[unlikely]] {
            punt_or_discard(parsed.frames[i], group.reason());
            ids[i] = nowhere;
            continue;
        }
        const uint8_t* ip = rte_pktmbuf_mtod(parsed.frames[i], const uint8_t*) + ethernet_header;
        const uint32_t hash = group.bucket_mask() == 0 ? 0 : flow_hash(ip, parsed.packets[i]);
        ids[i] = tables_.groups().select(group, hash);
        tables_.adjacencies().prefetch(ids[i]);
    }
    for (unsigned i = 0; i < parsed.count; ++i) {
        if (ids[i] != nowhere) [[likely]] {
            forward_over(parsed.frames[i], parsed.packets[i], ids[i]);
        }
    }
}

void Forwarder::forward_over(rte_mbuf* frame, const IpPacket& packet, uint32_t id) {
    const Adjacency& adjacency = tables_.adjacencies().get(id);
    if (const Reason reason = check_adjacency(adjacency, packet, ingress_); reason != Reason::forwarded) {
        punt_or_discard(frame, reason);
        return;
    }
    tables_.adjacencies().mark_used(id);
    auto* data = rte_pktmbuf_mtod(frame, uint8_t*);
    uint8_t* ip = data + ethernet_header;
    std::memcpy(data, adjacency.l2.data(), adjacency.l2.size());
    if (packet.is_ipv6) {
        decrement_hop_limit_ipv6(ip);
    } else {
        decrement_ttl_ipv4(ip);
    }
    // What follows the packet is padding of the ingress link, not ours to send (RFC 894).
    frame->data_len = static_cast<uint16_t>(ethernet_header + packet.length);
    frame->pkt_len = frame->data_len;

    Pending& pending = out_[adjacency.port];
    if (pending.count == 0) {
        out_ports_.push_back(adjacency.port);
    }
    pending.frames[pending.count++] = frame;
}

// What does not pass is taken out.
void Forwarder::filter_sources(Parsed<uint32_t>& parsed, ReversePath filter) {
    const uint64_t wanted = ways_wanted(filter, PortId{ingress_});
    std::array<uint32_t, burst_size> sources;
    std::array<uint32_t, burst_size> values;
    const unsigned count = std::exchange(parsed.count, 0);
    for (unsigned i = 0; i < count; ++i) {
        sources[i] = read32(parsed.packets[i].destination - ipv4_address);
    }
    tables_.fib4().lookup_bulk(std::span<const uint32_t>(sources).first(count), values.data());
    for (unsigned i = 0; i < count; ++i) {
        if (const Reason reason = check_source(tables_.groups(), values[i], wanted);
            reason != Reason::forwarded) {
            punt_or_discard(parsed.frames[i], reason);
            continue;
        }
        parsed.add(parsed.frames[i], parsed.packets[i], parsed.keys[i]);
    }
}

void Forwarder::process(std::span<rte_mbuf*> frames, PortId ingress, uint64_t late) {
    while (frames.size() > burst_size) {
        process(frames.first(burst_size), ingress, late);
        frames = frames.subspan(burst_size);
    }
    ingress_ = raw(ingress);
    reasons_.fill(0);
    PortCounters& counters = counters_.port[ingress_];
    uint64_t bytes = 0;

    Parsed<uint32_t> ipv4;
    Parsed<Key> ipv6;

    for (rte_mbuf* frame : frames) {
        rte_prefetch0(frame);
    }
    for (size_t i = 0; i < frames.size() && i < prefetch_ahead; ++i) {
        rte_prefetch0(rte_pktmbuf_mtod(frames[i], const void*));
    }
    for (size_t i = 0; i < frames.size(); ++i) {
        if (i + prefetch_ahead < frames.size()) {
            rte_prefetch0(rte_pktmbuf_mtod(frames[i + prefetch_ahead], const void*));
        }
        rte_mbuf* frame = frames[i];
        bytes += rte_pktmbuf_pkt_len(frame);
        IpPacket packet;
        const Reason reason =
            check_frame(rte_pktmbuf_mtod(frame, const uint8_t*), rte_pktmbuf_data_len(frame), packet);
        if (reason != Reason::forwarded) [[unlikely]] {
            punt_or_discard(frame, reason);
        } else if (packet.is_ipv6) {
            ipv6.add(frame, packet, Key::from_bytes(packet.destination));
        } else {
            ipv4.add(frame, packet, read32(packet.destination));
        }
    }
    if (const ReversePath filter = tables_.reverse_path(ingress);
        filter != ReversePath::off && ipv4.count > 0) {
        filter_sources(ipv4, filter);
    }
    std::array<uint32_t, burst_size> values;
    if (ipv4.count > 0) {
        tables_.fib4().lookup_bulk(std::span<const uint32_t>(ipv4.keys).first(ipv4.count), values.data());
        forward(ipv4, values);
    }
    if (ipv6.count > 0) {
        tables_.fib6().lookup_bulk(std::span<const Key>(ipv6.keys).first(ipv6.count), values.data());
        forward(ipv6, values);
    }
    if (rte_rdtsc() > late) [[unlikely]] {
        discard_late();
    }
    flush_tx();
    flush_punt(carry_on_, punt_[ingress_].carry_on);
    flush_punt(answer_, punt_[ingress_].answer);

    counters.rx_packets.add(frames.size());
    counters.rx_bytes.add(bytes);
    for (unsigned r = 0; r < reason_count; ++r) {
        if (reasons_[r] != 0) {
            counters.by_reason[r].add(reasons_[r]);
        }
    }
}

// Never waits for the port: see kick.hpp.
uint16_t Forwarder::transmit(uint16_t port, rte_mbuf** frames, uint16_t count) {
    const uint16_t sent = rte_eth_tx_burst(tx_[port].device, tx_[port].queue, frames, count);
    const Kicked kick = kicked();
    Egress& egress = egress_[port];
    if (egress.waiting != kick.unfinished) {
        egress.waiting = kick.unfinished;
        waiting_ = kick.unfinished ? waiting_ + 1 : waiting_ - 1;
    }
    if (count > 0 || kick.unfinished) {
        egress.rounds = tended_rounds;
    }
    if (const unsigned dropped = kick.dropped + count - sent; dropped > 0) {
        counters_.port[port].tx_dropped.add(dropped);
    }
    return sent;
}

void Forwarder::tend_transmit() {
    for (size_t port = 0; port < egress_.size(); ++port) {
        if (egress_[port].rounds > 0 && tx_[port].open) {
            --egress_[port].rounds;
            transmit(static_cast<uint16_t>(port), nullptr, 0);
        }
    }
}

void Forwarder::discard_late() {
    for (const uint16_t port : out_ports_) {
        Pending& pending = out_[port];
        for (uint16_t i = 0; i < pending.count; ++i) {
            discard(pending.frames[i], Reason::drop_late);
        }
        pending.count = 0;
    }
    out_ports_.clear();
    for (Punted* punted : {&carry_on_, &answer_}) {
        for (uint16_t i = 0; i < punted->count; ++i) {
            discard(punted->frames[i], Reason::drop_late);
        }
        punted->count = 0;
    }
}

void Forwarder::flush_tx() {
    for (const uint16_t port : out_ports_) {
        Pending& pending = out_[port];
        uint64_t bytes = 0;
        for (uint16_t i = 0; i < pending.count; ++i) {
            bytes += rte_pktmbuf_pkt_len(pending.frames[i]);
        }
        const uint16_t sent = transmit(port, pending.frames.data(), pending.count);
        reasons_[static_cast<unsigned>(Reason::forwarded)] += sent;
        for (uint16_t i = sent; i < pending.count; ++i) {
            bytes -= rte_pktmbuf_pkt_len(pending.frames[i]);
            discard(pending.frames[i], Reason::drop_tx_full);
        }
        counters_.port[port].tx_packets.add(sent);
        counters_.port[port].tx_bytes.add(bytes);
        pending.count = 0;
    }
    out_ports_.clear();
}

void Forwarder::flush_punt(Punted& punted, rte_ring* ring) {
    if (punted.count == 0) {
        return;
    }
    const unsigned taken =
        rte_ring_enqueue_burst(ring, reinterpret_cast<void**>(punted.frames.data()), punted.count, nullptr);
    for (unsigned i = 0; i < taken; ++i) {
        ++reasons_[static_cast<unsigned>(punted.reasons[i])];
    }
    for (unsigned i = taken; i < punted.count; ++i) {
        discard(punted.frames[i], Reason::drop_punt_full);
    }
    punted.count = 0;
}

}  // namespace millrace::dataplane
