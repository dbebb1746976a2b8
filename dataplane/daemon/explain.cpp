// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/explain.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/forward/explain.hpp"

namespace millrace::dataplane {

namespace {

Result<PortId> port_of(const Running& running, const ShowArguments& arguments) {
    const auto name = arguments.find("port");
    for (size_t p = 0; name != arguments.end() && p < running.ports.size(); ++p) {
        if (running.ports[p].name() == name->second) {
            return PortId{static_cast<uint16_t>(p)};
        }
    }
    return fail(name == arguments.end() ? "explain: which port?"
                                        : fmt::format("'{}' is no port of this millraced", name->second));
}

Result<std::vector<uint8_t>> frame_of(const ShowArguments& arguments) {
    const auto found = arguments.find("frame");
    const std::string_view text = found == arguments.end() ? std::string_view() : found->second;
    std::vector<uint8_t> frame(text.size() / 2);
    for (size_t i = 0; i < frame.size(); ++i) {
        const char* at = text.data() + 2 * i;
        if (std::from_chars(at, at + 2, frame[i], 16).ptr != at + 2) {
            return fail("explain: the frame is not hexadecimal");
        }
    }
    if (frame.empty() || text.size() % 2 != 0) {
        return fail("explain: no frame, or half a byte at its end");
    }
    return frame;
}

const char* name_of(ReversePath filter) {
    switch (filter) {
        case ReversePath::loose:
            return "loose";
        case ReversePath::strict:
            return "strict";
        default:
            return "off";
    }
}

// The mirror's longest match.
Row route_row(const RowOpener& routes, const IpAddress& address, GroupId found) {
    const auto source = routes({{"lookup", address.text()}});
    std::string text;
    if (!source || (*source)->next(text) != RowSource::Step::row) {
        return nullptr;
    }
    Row row = Row::parse(text);
    row["same"] = row.value("group", 0U) == raw(found);
    return row;
}

Row next_hop_row(const ExplainSources& sources, const Explained::NextHop& next_hop) {
    const Adjacency& adjacency = next_hop.adjacency;
    const auto hop = sources.hop(next_hop.id);
    const bool usable = adjacency.reason == Reason::forwarded;
    const auto mac = [&](size_t at) {
        MacAddress address;
        std::copy_n(adjacency.l2.begin() + static_cast<long>(at), address.bytes.size(),
                    address.bytes.begin());
        return usable ? Row(address.text()) : Row(nullptr);
    };
    return {{"gateway", hop ? Row(hop->gateway) : Row(nullptr)},
            {"interface", hop ? Row(hop->interface) : Row(nullptr)},
            {"port", usable ? Row(sources.running.ports[adjacency.port].name()) : Row(nullptr)},
            {"mac", mac(0)},
            {"source_mac", mac(MacAddress{}.bytes.size())},
            {"mtu", usable ? Row(next_hop.mtu) : Row(nullptr)},
            {"usable", usable}};
}

Row row_of(const ExplainSources& sources, PortId port, std::span<const uint8_t> frame) {
    const Running& running = sources.running;
    const Explained explained = explain(running.tables, port, frame);
    const Row state = port_state(running, port);
    const Interface* interface = running.tables.interface_of(port);
    Row row{{"port", running.ports[raw(port)].name()},
            {"state", state["state"]},
            {"why", state["reason"]},
            {"ifindex", interface == nullptr ? Row(nullptr) : Row(raw(interface->ifindex))},
            {"mac", interface == nullptr ? Row(nullptr) : Row(interface->mac.text())},
            {"pin_root", sources.pin_root},
            {"reason", name(explained.reason)},
            {"text", text(explained.reason)}};
    for (const char* step : {"packet", "reverse_path", "route", "group", "next_hop"}) {
        row[step] = nullptr;
    }
    if (const auto& packet = explained.packet) {
        row["packet"] = {{"source", packet->source.text()},
                         {"destination", packet->destination.text()},
                         {"length", packet->length}};
    }
    if (explained.filter) {
        row["reverse_path"] = name_of(*explained.filter);
    }
    if (const auto& choice = explained.choice) {
        row["route"] = route_row(sources.routes, explained.packet->destination, choice->group);
        row["group"] = {{"id", raw(choice->group)},
                        {"buckets", choice->buckets},
                        {"hash", choice->hash},
                        {"bucket", choice->bucket}};
    }
    if (explained.next_hop) {
        row["next_hop"] = next_hop_row(sources, *explained.next_hop);
    }
    return row;
}

}  // namespace

RowOpener show_explain(ExplainSources sources) {
    return
        [sources = std::move(sources)](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
            const auto port = port_of(sources.running, arguments);
            if (!port) {
                return tl::unexpected(port.error());
            }
            const auto frame = frame_of(arguments);
            if (!frame) {
                return tl::unexpected(frame.error());
            }
            return std::make_unique<FewRows>(std::vector<Row>{row_of(sources, *port, *frame)});
        };
}

}  // namespace millrace::dataplane
