// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/show.hpp"

#include <nlohmann/json.hpp>

#include "steering_bpf/reason_names.hpp"

namespace millrace::dataplane {

namespace {

// For tables that are short whatever the router carries.
class FewRows : public RowSource {
  public:
    explicit FewRows(std::vector<nlohmann::ordered_json> rows) : rows_(std::move(rows)) {}
    bool next(std::string& row) override {
        if (next_ == rows_.size()) {
            return false;
        }
        row = rows_[next_++].dump();
        return true;
    }

  private:
    std::vector<nlohmann::ordered_json> rows_;
    size_t next_ = 0;
};

using Row = nlohmann::ordered_json;

PortId port_id(size_t i) {
    return PortId{static_cast<uint16_t>(i)};
}

Row port_row(const Running& running, PortId id) {
    const AfXdpPort& port = running.ports[raw(id)];
    const Interface* interface = running.tables.interface_of(id);
    const XskStatistics xsk = port.statistics();
    uint64_t rx_packets = 0;
    uint64_t rx_bytes = 0;
    uint64_t tx_packets = 0;
    uint64_t tx_bytes = 0;
    for (size_t w = 0; w < running.workers.size(); ++w) {
        const PortCounters& counters = running.workers.counters(w).port[raw(id)];
        rx_packets += counters.rx_packets.read();
        rx_bytes += counters.rx_bytes.read();
        tx_packets += counters.tx_packets.read();
        tx_bytes += counters.tx_bytes.read();
    }
    Row row;
    row["port"] = port.name();
    row["ifindex"] = interface == nullptr ? Row(nullptr) : Row(raw(interface->ifindex));
    row["mac"] = interface == nullptr ? Row(nullptr) : Row(interface->mac.text());
    row["mtu"] = interface == nullptr ? Row(nullptr) : Row(interface->mtu);
    row["usable"] = interface != nullptr && interface->usable;
    row["queues"] = port.queues().size();
    row["xdp_mode"] = steering::name(running.steering.mode(id));
    row["xsk_mode"] = port.zero_copy() ? "zero-copy" : "copy";
    row["rx_packets"] = rx_packets;
    row["rx_bytes"] = rx_bytes;
    row["tx_packets"] = tx_packets;
    row["tx_bytes"] = tx_bytes;
    row["punted_packets"] = running.punter.written(id);
    row["xsk_rx_dropped"] = xsk.rx_dropped;
    row["xsk_rx_ring_full"] = xsk.rx_ring_full;
    row["xsk_fill_ring_empty"] = xsk.fill_ring_empty;
    row["xsk_tx_invalid"] = xsk.tx_invalid;
    return row;
}

}  // namespace

uint64_t packets(const Running& running, PortId port, Reason reason) {
    switch (reason) {
        case Reason::drop_punt_write:
            return running.punter.refused(port);
        case Reason::drop_punt_rate:
            return running.punter.over_rate(port);
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

RowOpener show_steering(Running running) {
    return [running](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        std::vector<Row> rows;
        for (size_t p = 0; p < running.ports.size(); ++p) {
            const auto counters = running.steering.counters(port_id(p));
            if (!counters) {
                return tl::unexpected(counters.error());
            }
            for (size_t r = 0; r < counters->size(); ++r) {
                rows.push_back({{"port", running.ports[p].name()},
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
