// SPDX-License-Identifier: BSD-3-Clause
// Why the forwarder did not forward a packet. One reason = one enum value = one counter = one test.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// X(constant, name, text). "drop_": discarded. "punt_": handed to the kernel, as received.
// Clauses: RFC 1812 5.2.2 (IPv4 header checks, silent discard), RFC 8200 3 (IPv6), RFC 8200 5 / RFC 1191 4
// (MTU).
#define MILLRACE_REASONS(X)                                                                              \
    X(forwarded, "forwarded", "forwarded by the fast path")                                              \
    X(drop_truncated, "drop_truncated", "frame shorter than its headers")                                \
    X(drop_ip_version, "drop_ip_version", "IP version does not match the ethertype")                     \
    X(drop_ip_length, "drop_ip_length", "IHL, total length or payload length does not fit")              \
    X(drop_ip_checksum, "drop_ip_checksum", "wrong IPv4 header checksum")                                \
    X(drop_blackhole, "drop_blackhole", "blackhole route")                                               \
    X(drop_tx_full, "drop_tx_full", "transmit ring of the egress port full")                             \
    X(drop_late, "drop_late",                                                                            \
      "waited while a thread stood still (by the punting one: counted as punted, too)")                  \
    X(drop_punt_full, "drop_punt_full", "punt ring to the kernel full")                                  \
    X(drop_punt_write, "drop_punt_write", "the kernel refused a punted packet (counted as punted, too)") \
    X(drop_punt_rate, "drop_punt_rate",                                                                  \
      "more than punt.rate for the kernel to answer (counted as punted, too)")                           \
    X(punt_not_ip, "punt_not_ip", "neither IPv4 nor IPv6")                                               \
    X(punt_ip_options, "punt_ip_options", "IPv4 options or IPv6 hop-by-hop options")                     \
    X(punt_ttl, "punt_ttl", "TTL or hop limit of 0 or 1")                                                \
    X(punt_no_route, "punt_no_route", "no route in the mirror")                                          \
    X(punt_glean, "punt_glean", "connected host without a neighbour entry")                              \
    X(punt_no_neighbour, "punt_no_neighbour", "gateway not resolved")                                    \
    X(punt_link_down, "punt_link_down", "egress interface down or without carrier")                      \
    X(punt_too_big, "punt_too_big", "longer than the egress MTU")                                        \
    X(punt_local, "punt_local", "to the router itself")                                                  \
    X(punt_unreachable, "punt_unreachable", "unreachable or prohibit route")                             \
    X(punt_unmanaged, "punt_unmanaged", "the route leads over a device that is no port")                 \
    X(punt_unsupported, "punt_unsupported", "a route that the fast path cannot express")                 \
    X(punt_encapsulation, "punt_encapsulation", "a route with a tunnel or labels (lightweight tunnel)")  \
    X(punt_qdisc, "punt_qdisc", "the egress port has a queueing discipline, a filter or a chain")        \
    X(punt_hairpin, "punt_hairpin", "egress is the ingress: the kernel may send a redirect")             \
    X(punt_reverse_path, "punt_reverse_path", "the source fails rp_filter: the kernel's to discard")     \
    X(punt_no_room, "punt_no_room", "a table of the fast path is full; see [sizes]")

enum class Reason : uint8_t {
#define MILLRACE_X(constant, name, text) constant,
    MILLRACE_REASONS(MILLRACE_X)
#undef MILLRACE_X
};

#define MILLRACE_X(constant, name, text) +1
inline constexpr unsigned reason_count = 0 MILLRACE_REASONS(MILLRACE_X);
#undef MILLRACE_X

constexpr std::string_view name(Reason r) {
    constexpr std::string_view names[] = {
#define MILLRACE_X(constant, name, text) name,
        MILLRACE_REASONS(MILLRACE_X)
#undef MILLRACE_X
    };
    return names[static_cast<unsigned>(r)];
}

constexpr std::string_view text(Reason r) {
    constexpr std::string_view texts[] = {
#define MILLRACE_X(constant, name, text) text,
        MILLRACE_REASONS(MILLRACE_X)
#undef MILLRACE_X
    };
    return texts[static_cast<unsigned>(r)];
}

// Discarded, as opposed to forwarded or handed to the kernel. The enum lists drops before punts.
constexpr bool is_drop(Reason r) {
    return r > Reason::forwarded && r < Reason::punt_not_ip;
}

// Punted for the kernel to carry on to its destination, and so perhaps a large share of the traffic. The
// other punts it answers, resolves or discards: a flood is made of them, and few of them are enough.
constexpr bool kernel_carries_on(Reason r) {
    switch (r) {
        case Reason::punt_ip_options:
        case Reason::punt_link_down:  // over what other way it may know, until the mirror knows it too
        case Reason::punt_too_big:
        case Reason::punt_local:
        case Reason::punt_unmanaged:
        case Reason::punt_unsupported:
        case Reason::punt_encapsulation:
        case Reason::punt_qdisc:
        case Reason::punt_hairpin:
        case Reason::punt_no_room:
            return true;
        default:
            return false;
    }
}

}  // namespace millrace
