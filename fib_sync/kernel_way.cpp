// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/kernel_way.hpp"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "fib_sync/attributes.hpp"
#include "fib_sync/exchange.hpp"

namespace millrace::sync {
namespace {

// What follows the netlink header of a request.
class Body {
  public:
    explicit Body(const rtmsg& header) { put(&header, sizeof(header)); }
    template <class T>
    void attribute(uint16_t type, const T& value, size_t size = sizeof(T)) {
        const nlattr head{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + size), .nla_type = type};
        put(&head, sizeof(head));
        put(&value, size);
    }
    [[nodiscard]] Bytes bytes() const { return Bytes(bytes_).first(size_); }

  private:
    void put(const void* data, size_t size) {
        std::memcpy(bytes_.data() + size_, data, size);
        size_ += NLMSG_ALIGN(size);
    }
    std::array<std::byte, 128> bytes_{};
    size_t size_ = 0;
};

Body request_of(const KernelQuestion& question) {
    rtmsg header{};
    const bool is_ipv4 = question.destination.family == Family::ipv4;
    header.rtm_family = is_ipv4 ? AF_INET : AF_INET6;
    header.rtm_dst_len = header.rtm_src_len = static_cast<uint8_t>(address_bits(question.destination.family));
    Body body(header);
    body.attribute(RTA_DST, question.destination.bytes, question.destination.size());
    body.attribute(RTA_SRC, question.source.bytes, question.source.size());
    body.attribute(RTA_IIF, question.in);
    const bool has_ports = question.protocol == IPPROTO_TCP || question.protocol == IPPROTO_UDP;
    const auto icmp = static_cast<uint8_t>(is_ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6});
    // The kernel takes these, and ICMP alone beside them (rtm_getroute_parse_ip_proto).
    if (has_ports || question.protocol == icmp) {
        body.attribute(RTA_IP_PROTO, question.protocol);
    }
    if (has_ports) {
        body.attribute(RTA_SPORT, htons(question.source_port));
        body.attribute(RTA_DPORT, htons(question.destination_port));
    }
    return body;
}

// RTA_VIA: the address family, and a gateway of it (RFC 8950).
std::optional<IpAddress> via(Bytes value) {
    const auto family = read<uint16_t>(value);
    return family ? address_of(value.subspan(sizeof(*family))) : std::nullopt;
}

Result<KernelWay> parse(Bytes payload) {
    const auto header = read<rtmsg>(payload);
    if (!header) {
        return fail("RTM_GETROUTE: an answer without a header");
    }
    KernelWay way{.type = header->rtm_type, .table = TableId{header->rtm_table}};
    AttributeReader attributes(after(payload, sizeof(rtmsg)));
    while (const auto attribute = attributes.next()) {
        switch (attribute->type) {
            case RTA_TABLE:
                way.table = read<TableId>(attribute->value).value_or(way.table);
                break;
            case RTA_OIF:
                way.out = read<Ifindex>(attribute->value).value_or(way.out);
                break;
            case RTA_GATEWAY:
                way.gateway = address_of(attribute->value);
                break;
            case RTA_VIA:
                way.gateway = via(attribute->value);
                break;
            default:
                break;
        }
    }
    if (attributes.malformed()) {
        return fail("RTM_GETROUTE: a malformed answer");
    }
    std::array<char, IF_NAMESIZE> name{};
    if (raw(way.out) != 0 && if_indextoname(raw(way.out), name.data()) != nullptr) {
        way.out_name = name.data();
    }
    return way;
}

}  // namespace

Result<KernelWay> kernel_way(const KernelQuestion& question) {
    auto kernel = Exchange::open(NETLINK_ROUTE);
    if (!kernel) {
        return tl::unexpected(kernel.error());
    }
    Result<KernelWay> answer = fail("RTM_GETROUTE: no answer");
    const Body body = request_of(question);
    const Status asked =
        kernel->ask(RTM_GETROUTE, NLM_F_ACK, body.bytes(), [&](uint16_t type, Bytes payload) {
            if (type == RTM_NEWROUTE) {
                answer = parse(payload);
            }
            return Status{};
        });
    if (asked) {
        return answer;
    }
    switch (asked.error().code) {
        case ENETUNREACH:
        case EHOSTUNREACH:
        case EACCES:
        case EINVAL:
        case EXDEV:
            return KernelWay{.refused = asked.error().code};
        default:
            return tl::unexpected(asked.error());
    }
}

}  // namespace millrace::sync
