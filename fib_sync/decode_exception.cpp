// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/core.h>
#include <linux/in_route.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include <algorithm>

#include "fib_sync/decode_route.hpp"
#include "fib_sync/exceptions.hpp"

namespace millrace::sync {
namespace {

constexpr size_t ipv4_header = 20;
constexpr size_t icmp_header = 8;
constexpr uint64_t ms_per_tick = 10;  // RTA_CACHEINFO counts hundredths of a second (USER_HZ)
// Of a redirect the kernel tells none.
constexpr uint64_t redirect_lifetime_ms = 300'000;

std::optional<IpAddress> address_at(Family family, Bytes bytes, size_t offset) {
    const size_t size = address_bits(family) / 8;
    if (bytes.size() < offset + size) {
        return std::nullopt;
    }
    return IpAddress::from_bytes(family, bytes.data() + offset);
}

// 0 where it says none.
uint32_t mtu_of(Bytes metrics) {
    AttributeReader reader(metrics);
    uint32_t mtu = 0;
    while (const auto a = reader.next()) {
        mtu = a->type == RTAX_MTU ? read<uint32_t>(a->value).value_or(0) : mtu;
    }
    return mtu;
}

}  // namespace

std::optional<IpAddress> exception_subject(Family family, Bytes message) {
    if (family == Family::ipv6) {
        const auto type = read<uint8_t>(message);
        if (type == ICMP6_PACKET_TOO_BIG) {
            return address_at(family, message, icmp_header + 24);  // of the packet that is quoted
        }
        // RFC 4861 4.5: the target and then the destination follow the header.
        return type == ND_REDIRECT ? address_at(family, message, icmp_header + 16) : std::nullopt;
    }
    const auto first = read<uint8_t>(message);
    const size_t header = (first.value_or(0) & 0xfU) * size_t{4};
    if (header < ipv4_header || message.size() < header + icmp_header) {
        return std::nullopt;
    }
    const Bytes icmp = message.subspan(header);
    const auto type = std::to_integer<uint8_t>(icmp[0]);
    const auto code = std::to_integer<uint8_t>(icmp[1]);
    if (type != ICMP_REDIRECT && (type != ICMP_DEST_UNREACH || code != ICMP_FRAG_NEEDED)) {
        return std::nullopt;
    }
    return address_at(family, icmp, icmp_header + 16);
}

Result<std::optional<Exception>> decode_exception(Bytes one_message) {
    const auto header = read<nlmsghdr>(one_message);
    if (!header || header->nlmsg_type != RTM_NEWROUTE) {
        return std::nullopt;
    }
    const Bytes payload = one_message.subspan(NLMSG_HDRLEN);
    const auto route = read<rtmsg>(payload);
    if (!route) {
        return bad("RTM_NEWROUTE", "header");
    }
    if ((route->rtm_flags & RTM_F_CLONED) == 0) {
        return std::nullopt;
    }
    Exception exception;
    std::optional<IpAddress> host;
    std::optional<IpAddress> gateway;
    uint32_t mtu = 0;
    AttributeReader reader(after(payload, sizeof(rtmsg)));
    while (const auto a = reader.next()) {
        if (a->type == RTA_DST) {
            host = address_of(a->value);
        } else if (a->type == RTA_GATEWAY) {
            gateway = address_of(a->value);
        } else if (a->type == RTA_METRICS) {
            mtu = mtu_of(a->value);
        } else if (a->type == RTA_CACHEINFO) {
            const auto info = read<rta_cacheinfo>(a->value);
            exception.lifetime_ms =
                static_cast<uint64_t>(std::max(info ? info->rta_expires : 0, 0)) * ms_per_tick;
        }
    }
    if (reader.malformed() || !host) {
        return bad("RTM_NEWROUTE", host ? "attribute" : "RTA_DST");
    }
    const bool redirected = (route->rtm_flags & RTCF_REDIRECTED) != 0;
    if (host->family == Family::ipv4 && mtu == 0 && !redirected) {
        return std::nullopt;  // the MTU has expired; what is left says nothing
    }
    if (mtu == 0) {
        exception.lifetime_ms = redirect_lifetime_ms;
    }
    exception.host = *host;
    exception.text = mtu != 0  ? fmt::format("path MTU {}, learned by ICMP", mtu)
                     : gateway ? fmt::format("redirect to {}, learned by ICMP", gateway->text())
                               : "learned by ICMP";
    return exception;
}

}  // namespace millrace::sync
