// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/question.hpp"

namespace millrace::sync {
namespace {

std::optional<IpAddress> uncovered(const Mirror& mirror, const Prefix& prefix) {
    constexpr int tries = 256;
    IpAddress at = prefix.address;
    // To these the kernel does not route by its tables.
    if (prefix.length < 8 && at == Prefix::make(at, 0).address) {
        at.bytes[0] = 1;
    }
    for (int i = 0; i < tries && prefix.contains(at); ++i) {
        // In order, the shortest of those at an address comes first.
        Prefix cover{at, prefix.length};
        auto next = mirror.next_entry(&cover);
        while (next && next->second.route == nullptr) {  // a neighbour's, none of the kernel's tables
            cover = next->first;
            next = mirror.next_entry(&cover);
        }
        if (!next || next->first.address != at) {
            return at;
        }
        // Behind it.
        size_t byte = at.size();
        const unsigned length = next->first.length;
        for (size_t b = 0; b < at.size(); ++b) {
            const unsigned keep = length > b * 8 ? length - static_cast<unsigned>(b) * 8 : 0;
            at.bytes[b] |= keep < 8 ? static_cast<uint8_t>(0xffU >> keep) : 0;
        }
        while (byte > 0 && ++at.bytes[byte - 1] == 0) {
            --byte;
        }
        if (byte == 0) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

// Link-local, multicast, loopback, "this network": not found by the routing tables alone.
bool routed_by_table(const IpAddress& a) {
    if (a.family == Family::ipv4) {
        return a.bytes[0] != 0 && a.bytes[0] != 127 && a.bytes[0] < 224;
    }
    return a.bytes[0] != 0 && a.bytes[0] < 0xfe;
}

}  // namespace

std::optional<IpAddress> question_about(const Mirror& mirror, const Prefix& prefix) {
    const auto address = uncovered(mirror, prefix);
    return address && routed_by_table(*address) ? address : std::nullopt;
}

}  // namespace millrace::sync
