// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/attributes.hpp"

#include <algorithm>

namespace millrace::sync {

Bytes after(Bytes bytes, size_t size) {
    return bytes.subspan(std::min(bytes.size(), NLMSG_ALIGN(size)));
}

std::optional<Attribute> AttributeReader::next() {
    if (rest_.empty()) {
        return std::nullopt;
    }
    const auto header = read<nlattr>(rest_);
    if (!header || header->nla_len < sizeof(nlattr) || header->nla_len > rest_.size()) {
        malformed_ = true;
        return std::nullopt;
    }
    const Attribute a{.type = static_cast<uint16_t>(header->nla_type & NLA_TYPE_MASK),
                      .value = rest_.first(header->nla_len).subspan(NLA_HDRLEN)};
    rest_ = after(rest_, header->nla_len);
    return a;
}

std::string text_of(Bytes value) {
    std::string s;
    for (const std::byte b : value) {
        if (b == std::byte{0}) {
            break;
        }
        s.push_back(static_cast<char>(b));
    }
    return s;
}

std::optional<IpAddress> address_of(Bytes value) {
    if (value.size() == 4) {
        return IpAddress::from_bytes(Family::ipv4, value.data());
    }
    if (value.size() == 16) {
        return IpAddress::from_bytes(Family::ipv6, value.data());
    }
    return std::nullopt;
}

std::optional<MacAddress> mac_of(Bytes value) {
    MacAddress mac;
    if (value.size() != mac.bytes.size()) {
        return std::nullopt;
    }
    std::memcpy(mac.bytes.data(), value.data(), value.size());
    return mac;
}

}  // namespace millrace::sync
