// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/show.hpp"

#include <netinet/in.h>
#include <rte_cycles.h>

#include <utility>

#include "dataplane/port/rings.hpp"
#include "steering_bpf/reason_names.hpp"

namespace millrace::dataplane {

namespace {

const char* family_name(Family family) {
    return family == Family::ipv4 ? "ipv4" : "ipv6";
}

PortId port_id(size_t i) {
    return PortId{static_cast<uint16_t>(i)};
}

Row port_row(const Running& running, PortId id) {
    const AfXdpPort& port = running.ports[raw(id)];
    const Interface* interface = running.tables.interface_of(id);
    const XskStatistics xsk = port.statistics();
    const PortTotals totals = port_totals(running, id);
    Row row = port_state(running, id);
    row["ifindex"] = interface == nullptr ? Row(nullptr) : Row(raw(interface->ifindex));
    row["mac"] = interface == nullptr ? Row(nullptr) : Row(interface->mac.text());
    row["mtu"] = interface == nullptr ? Row(nullptr) : Row(interface->mtu);
    row["usable"] = interface != nullptr && interface->usable;
    row["queues"] = port.queues().size();
    const auto attached = running.steering.attached(id);
    row["xdp_mode"] = attached ? Row(steering::name(attached->mode)) : Row(nullptr);
    row["xsk_mode"] = port.is_open() ? Row(port.zero_copy() ? "zero-copy" : "copy") : Row(nullptr);
    row["rx_ring"] = port.is_open() ? Row(port.ring()) : Row(nullptr);
    row["fill_buffers"] = port.is_open() ? Row(fill_buffers) : Row(nullptr);
    row["rx_packets"] = totals.rx_packets;
    row["rx_bytes"] = totals.rx_bytes;
    row["tx_packets"] = totals.tx_packets;
    row["tx_bytes"] = totals.tx_bytes;
    row["tx_dropped"] = totals.tx_dropped;
    row["punted_packets"] = running.punter.written(id);
    row["xsk_rx_dropped"] = xsk.rx_dropped;
    row["xsk_rx_ring_full"] = xsk.rx_ring_full;
    row["xsk_fill_ring_empty"] = xsk.fill_ring_empty;
    row["xsk_tx_invalid"] = xsk.tx_invalid;
    return row;
}

Row worker_row(const WorkerSet& workers, size_t w) {
    const WorkerCounters& counters = workers.counters(w);
    const auto us = [](uint64_t cycles) { return cycles / (rte_get_tsc_hz() / 1'000'000); };
    const uint64_t begun = counters.begun_cycles.read();
    Row row{{"worker", w},
            {"core", workers.core(w)},
            {"thread", workers.tid(w)},
            {"started_ms", counters.begun_ns.read() / 1'000'000},
            {"running_us", begun == 0 ? 0 : us(rte_rdtsc() - begun)},
            {"busy_us", us(counters.busy_cycles.read())},
            {"asleep_us", us(counters.asleep_cycles.read())},
            {"loops", counters.loops.read()},
            {"sleeps", counters.sleeps.read()},
            {"bursts", counters.bursts.read()}};
    const auto sum = [&counters](Counter PortCounters::*which) {
        uint64_t all = 0;
        for (const PortCounters& port : counters.port) {
            all += (port.*which).read();
        }
        return all;
    };
    row["rx_packets"] = sum(&PortCounters::rx_packets);
    row["rx_bytes"] = sum(&PortCounters::rx_bytes);
    row["tx_packets"] = sum(&PortCounters::tx_packets);
    row["tx_bytes"] = sum(&PortCounters::tx_bytes);
    row["tx_dropped"] = sum(&PortCounters::tx_dropped);
    return row;
}

Row kept_row(const Keep& keep) {
    return {{"kind", "kept"},
            {"port", keep.port.empty() ? Row(nullptr) : Row(keep.port)},
            {"what", keep.what()},
            {"family", keep.prefix   ? Row(family_name(keep.prefix->address.family))
                       : keep.family ? Row(family_name(*keep.family))
                                     : Row(nullptr)},
            {"prefix", keep.prefix ? Row(keep.prefix->text()) : Row(nullptr)},
            {"prefixes", nullptr},
            {"cause", name(keep.cause)},
            {"text", keep.text}};
}

void add_configured(const KeepConfig& keep, std::vector<Row>& rows) {
    for (const Prefix& prefix : keep.prefixes) {
        rows.push_back(
            kept_row({.cause = KeepCause::configuration, .prefix = prefix, .text = "[keep] prefixes"}));
    }
    const auto add = [&rows](std::string what, const char* text) {
        Row row = kept_row({.cause = KeepCause::configuration, .text = text});
        row["what"] = std::move(what);
        rows.push_back(std::move(row));
    };
    for (const uint8_t protocol : keep.protocols) {
        add(fmt::format("protocol {}", protocol), "[keep] protocols");
    }
    for (const auto& [protocol, port] : keep.l4_ports) {
        add(fmt::format("{}/{}", protocol == IPPROTO_TCP ? "tcp" : "udp", port), "[keep] l4_ports");
    }
}

Row kept_row(const KeptRoutes& kept) {
    return {{"kind", "kept"},
            {"port", nullptr},
            {"what", "routes"},
            {"family", nullptr},
            {"prefix", nullptr},
            {"prefixes", kept.prefixes},
            {"cause", name(KeepCause::routes)},
            {"text", fmt::format("{} prefix{}, {}; see 'millrace show routes'", kept.prefixes,
                                 kept.prefixes == 1 ? "" : "es", name(kept.reason))}};
}

// What is registered where, whatever follows from it.
Row hook_row(const Running& running, const steering::Hook& hook) {
    using steering::Follows;
    using steering::Hook;
    Row port = nullptr;
    for (size_t p = 0; p < running.ports.size(); ++p) {
        if (raw(hook.ifindex) != 0 && running.steering.firewall_port(port_id(p)) == hook.ifindex) {
            port = running.ports[p].name();
        }
    }
    const bool nft = hook.kind == Hook::Kind::nft;
    const bool inet = hook.where == Hook::Where::ipv4 || hook.where == Hook::Where::ipv6;
    const Follows follows = steering::follows(hook, running.steering.firewall_config());
    return {{"kind", "hook"},
            {"port", port},
            {"family", inet ? Row(family_name(hook.where == Hook::Where::ipv4 ? Family::ipv4 : Family::ipv6))
                            : Row(nullptr)},
            {"hook", steering::place(hook)},
            {"priority", hook.priority},
            {"function", hook.function},
            {"table", nft ? Row(steering::table_of(hook)) : Row(nullptr)},
            {"chain", nft ? Row(hook.chain) : Row(nullptr)},
            {"rules", nft ? Row(hook.rules) : Row(nullptr)},
            {"follows", name(follows)},
            {"text", steering::whose(hook)}};
}

}  // namespace

Row port_state(const Running& running, PortId id) {
    const Interface* interface = running.tables.interface_of(id);
    std::string problem = running.states.problem(id);
    if (problem.empty() && (interface == nullptr || !interface->usable)) {
        problem = "its link is down, or a bridge, bond or VRF has it";
    }
    return {{"port", running.ports[raw(id)].name()},
            {"state", problem.empty() ? "served" : "kernel"},
            {"reason", problem.empty() ? Row(nullptr) : Row(problem)}};
}

PortTotals port_totals(const Running& running, PortId id) {
    PortTotals totals;
    for (size_t w = 0; w < running.workers.size(); ++w) {
        const PortCounters& counters = running.workers.counters(w).port[raw(id)];
        totals.rx_packets += counters.rx_packets.read();
        totals.rx_bytes += counters.rx_bytes.read();
        totals.tx_packets += counters.tx_packets.read();
        totals.tx_bytes += counters.tx_bytes.read();
        totals.tx_dropped += counters.tx_dropped.read();
    }
    return totals;
}

uint64_t packets(const Running& running, PortId port, Reason reason) {
    switch (reason) {
        case Reason::drop_punt_write:
            return running.punter.refused(port);
        case Reason::drop_punt_rate:
            return running.punter.over_rate(port);
        case Reason::drop_late:
            return running.workers.packets(port, reason) + running.punter.late(port);
        default:
            return running.workers.packets(port, reason);
    }
}

RowOpener show_ports(Running running) {
    return [running](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        std::vector<Row> rows;
        for (size_t p = 0; p < running.ports.size(); ++p) {
            rows.push_back(port_row(running, port_id(p)));
        }
        return std::make_unique<FewRows>(std::move(rows));
    };
}

RowOpener show_counters(Running running) {
    return [running](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        std::vector<Row> rows;
        for (size_t p = 0; p < running.ports.size(); ++p) {
            for (unsigned r = 0; r < reason_count; ++r) {
                const auto reason = static_cast<Reason>(r);
                rows.push_back({{"port", running.ports[p].name()},
                                {"reason", name(reason)},
                                {"packets", packets(running, port_id(p), reason)},
                                {"text", text(reason)}});
            }
        }
        return std::make_unique<FewRows>(std::move(rows));
    };
}

RowOpener show_workers(Running running) {
    return [running](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        std::vector<Row> rows;
        for (size_t w = 0; w < running.workers.size(); ++w) {
            rows.push_back(worker_row(running.workers, w));
        }
        return std::make_unique<FewRows>(std::move(rows));
    };
}

RowOpener show_steering(Running running, std::function<std::vector<KeptRoutes>()> kept_routes) {
    return [running, kept_routes =
                         std::move(kept_routes)](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        std::vector<Row> rows;
        add_configured(running.steering.configured(), rows);
        for (const Keep& keep : running.steering.keeps()) {
            rows.push_back(kept_row(keep));
        }
        for (const KeptRoutes& kept : kept_routes()) {
            if (kept.prefixes != 0) {
                rows.push_back(kept_row(kept));
            }
        }
        for (const steering::Hook& hook : running.steering.firewall().hooks.all) {
            rows.push_back(hook_row(running, hook));
        }
        for (size_t p = 0; p < running.ports.size(); ++p) {
            const auto counters = running.steering.counters(port_id(p));
            if (!counters) {
                return tl::unexpected(counters.error());
            }
            for (size_t r = 0; r < counters->size(); ++r) {
                rows.push_back({{"kind", "verdict"},
                                {"port", running.ports[p].name()},
                                {"reason", steering::reason_names[r]},
                                {"packets", (*counters)[r].packets},
                                {"bytes", (*counters)[r].bytes},
                                {"text", steering::reason_texts[r]}});
            }
        }
        return std::make_unique<FewRows>(std::move(rows));
    };
}

}  // namespace millrace::dataplane
