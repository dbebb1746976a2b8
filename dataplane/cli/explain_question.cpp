// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/explain_question.hpp"

#include <fmt/core.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

namespace millrace::cli {

namespace {

constexpr size_t mac_bytes = 6;
constexpr size_t ethernet_header = 14;
constexpr size_t ipv4_header = 20;
constexpr size_t ipv6_header = 40;
constexpr size_t udp_header = 8;
constexpr size_t tcp_header = 20;
constexpr uint8_t echo_request4 = 8;
constexpr uint8_t echo_request6 = 128;
constexpr uint16_t any_source_port = 49152;       // the first that is nobody's (RFC 6335 6)
constexpr uint16_t any_destination_port = 33434;  // traceroute's
constexpr uint32_t longest = 9216;

template <class T>
std::optional<T> number(std::string_view text, T least, T most) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool good =
        error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most;
    return good ? std::optional(value) : std::nullopt;
}

size_t ip_header(const IpAddress& address) {
    return address.family == Family::ipv4 ? ipv4_header : ipv6_header;
}
size_t transport_header(const Question::Packet& packet) {
    return packet.protocol == IPPROTO_TCP ? tcp_header : udp_header;  // ICMP's echo has as much as UDP
}

// The words one after the other.
class Words {
  public:
    explicit Words(const std::vector<std::string>& words) : words_(words) {}
    bool take(std::string_view word) {
        const bool is = at_ < words_.size() && words_[at_] == word;
        at_ += is ? 1 : 0;
        return is;
    }
    std::string next() { return at_ < words_.size() ? words_[at_++] : std::string(); }
    [[nodiscard]] bool at_end() const { return at_ == words_.size(); }

  private:
    const std::vector<std::string>& words_;
    size_t at_ = 0;
};

constexpr const char* grammar =
    "it is 'explain in PORT from ADDRESS to ADDRESS [udp|tcp SPORT DPORT | icmp] [length BYTES]'";

Result<IpAddress> parse_address(Words& words, const char* before) {
    if (!words.take(before)) {
        return fail(fmt::format("'{}' is missing: {}", before, grammar));
    }
    const std::string text = words.next();
    const auto address = IpAddress::parse(text);
    return address ? Result<IpAddress>(*address)
                   : fail(fmt::format("'{}' after '{}' is no IPv4 or IPv6 address", text, before));
}

Status parse_protocol(Words& words, Question::Packet& packet) {
    const bool udp = words.take("udp");
    if (!udp && !words.take("tcp")) {
        if (words.take("icmp")) {
            const bool is_ipv4 = packet.source.family == Family::ipv4;
            packet.protocol = static_cast<uint8_t>(is_ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6});
            packet.source_port = packet.destination_port = 0;
        }
        return {};
    }
    packet.protocol = udp ? IPPROTO_UDP : IPPROTO_TCP;
    for (uint16_t* port : {&packet.source_port, &packet.destination_port}) {
        const std::string text = words.next();
        const auto value = number<uint16_t>(text, 0, UINT16_MAX);
        if (!value) {
            return fail(
                fmt::format("'{}' is no port of UDP or TCP: both are told, as in 'udp 1024 53'", text));
        }
        *port = *value;
    }
    return {};
}

Result<Question::Packet> parse_packet(Words& words) {
    const auto source = parse_address(words, "from");
    if (!source) {
        return tl::unexpected(source.error());
    }
    const auto destination = parse_address(words, "to");
    if (!destination) {
        return tl::unexpected(destination.error());
    }
    if (source->family != destination->family) {
        return fail("one address is of IPv4, the other of IPv6");
    }
    Question::Packet packet{.source = *source,
                            .destination = *destination,
                            .protocol = IPPROTO_UDP,
                            .source_port = any_source_port,
                            .destination_port = any_destination_port};
    if (const Status parsed = parse_protocol(words, packet); !parsed) {
        return tl::unexpected(parsed.error());
    }
    const auto least = static_cast<uint32_t>(ip_header(packet.source) + transport_header(packet));
    packet.length = least;
    if (words.take("length")) {
        const std::string text = words.next();
        const auto length = number<uint32_t>(text, least, longest);
        if (!length) {
            return fail(fmt::format("length '{}': bytes of the IP packet, {} to {}", text, least, longest));
        }
        packet.length = *length;
    }
    return packet;
}

Result<std::vector<uint8_t>> parse_hex(std::string text) {
    // As tcpdump -x, xxd and people write them.
    std::erase_if(text, [](char c) { return c == ' ' || c == ':' || c == '\n' || c == '\t'; });
    std::vector<uint8_t> bytes(text.size() / 2);
    for (size_t i = 0; i < bytes.size(); ++i) {
        const char* at = text.data() + 2 * i;
        if (std::from_chars(at, at + 2, bytes[i], 16).ptr != at + 2) {
            return fail(fmt::format("'{}' in the frame: no hexadecimal digits", text.substr(2 * i, 2)));
        }
    }
    if (text.size() % 2 != 0 || bytes.size() < ethernet_header || bytes.size() > ethernet_header + longest) {
        return fail(fmt::format("a frame has {} to {} bytes of two digits each, the Ethernet header included",
                                ethernet_header, ethernet_header + longest));
    }
    return bytes;
}

using Bytes = std::vector<uint8_t>;

void put16(Bytes& out, uint16_t value) {
    out.push_back(static_cast<uint8_t>(value >> 8));
    out.push_back(static_cast<uint8_t>(value));
}
void set16(Bytes& out, size_t at, uint16_t value) {
    out[at] = static_cast<uint8_t>(value >> 8);
    out[at + 1] = static_cast<uint8_t>(value);
}
uint16_t get16(const Bytes& bytes, size_t at) {
    return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
void put(Bytes& out, const IpAddress& address) {
    out.insert(out.end(), address.bytes.begin(), address.bytes.begin() + static_cast<long>(address.size()));
}

// RFC 1071, over bytes from a place on; sum: of what does not stand there.
uint16_t checksum(const Bytes& bytes, size_t from, size_t size, uint32_t sum = 0) {
    for (size_t i = 0; i < size; ++i) {
        sum += i % 2 == 0 ? uint32_t{bytes[from + i]} << 8 : bytes[from + i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<uint16_t>(~sum);
}

// The pseudo-header of RFC 9293 3.1, RFC 768 and RFC 8200 8.1.
uint32_t pseudo_header(const Question::Packet& packet, size_t length) {
    Bytes header;
    put(header, packet.source);
    put(header, packet.destination);
    put16(header, static_cast<uint16_t>(length));
    put16(header, packet.protocol);
    return static_cast<uint16_t>(~checksum(header, 0, header.size()));
}

void put_ip(Bytes& out, const Question::Packet& packet) {
    constexpr uint8_t hops = 64;
    if (packet.source.family == Family::ipv6) {
        out.insert(out.end(), {0x60, 0, 0, 0});
        put16(out, static_cast<uint16_t>(packet.length - ipv6_header));
        out.insert(out.end(), {packet.protocol, hops});
        put(out, packet.source);
        put(out, packet.destination);
        return;
    }
    const size_t at = out.size();
    out.insert(out.end(), {0x45, 0});
    put16(out, static_cast<uint16_t>(packet.length));
    out.insert(out.end(), {0, 0, 0x40, 0, hops, packet.protocol, 0, 0});  // don't fragment
    put(out, packet.source);
    put(out, packet.destination);
    set16(out, at + 10, checksum(out, at, ipv4_header));
}

}  // namespace

Result<Question> parse_question(const std::vector<std::string>& all, const std::string& frame) {
    Words words(all);
    Question question;
    if (!words.take("in") || (question.port = words.next()).empty()) {
        return fail(fmt::format("'in PORT' is missing: {}", grammar));
    }
    if (!frame.empty()) {
        auto bytes = parse_hex(frame);
        if (!bytes) {
            return tl::unexpected(bytes.error());
        }
        question.frame = std::move(*bytes);
    } else {
        auto packet = parse_packet(words);
        if (!packet) {
            return tl::unexpected(packet.error());
        }
        question.packet = *packet;
    }
    if (!words.at_end()) {
        return fail(fmt::format("'{}' is too much: {}", words.next(),
                                frame.empty() ? grammar : "with --frame it is 'explain in PORT'"));
    }
    return question;
}

std::vector<uint8_t> frame_of(const Question::Packet& packet, const MacAddress& mac) {
    constexpr MacAddress neighbour{{0x02, 0, 0, 0, 0, 0x01}};  // nobody looks at it
    Bytes out(mac.bytes.begin(), mac.bytes.end());
    out.insert(out.end(), neighbour.bytes.begin(), neighbour.bytes.end());
    put16(out, packet.source.family == Family::ipv4 ? 0x0800 : 0x86dd);
    put_ip(out, packet);
    const size_t at = out.size();
    size_t checksum_at = at + 6;  // UDP's
    if (packet.protocol == IPPROTO_TCP) {
        put16(out, packet.source_port);
        put16(out, packet.destination_port);
        out.insert(out.end(), {0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0});  // SYN
        checksum_at = at + 16;
    } else if (packet.protocol == IPPROTO_UDP) {
        put16(out, packet.source_port);
        put16(out, packet.destination_port);
        put16(out, static_cast<uint16_t>(packet.length - ip_header(packet.source)));
        put16(out, 0);
    } else {
        const bool is_ipv4 = packet.protocol == IPPROTO_ICMP;
        out.insert(out.end(), {is_ipv4 ? echo_request4 : echo_request6, 0, 0, 0, 0, 1, 0, 1});
        checksum_at = at + 2;
    }
    out.resize(ethernet_header + packet.length);
    const size_t size = out.size() - at;
    set16(out, checksum_at,
          checksum(out, at, size, packet.protocol == IPPROTO_ICMP ? 0 : pseudo_header(packet, size)));
    return out;
}

std::optional<Question::Packet> packet_of(const std::vector<uint8_t>& frame) {
    const uint16_t type = frame.size() < ethernet_header ? 0 : get16(frame, 2 * mac_bytes);
    const bool is_ipv4 = type == 0x0800;
    if ((!is_ipv4 && type != 0x86dd) ||
        frame.size() < ethernet_header + (is_ipv4 ? ipv4_header : ipv6_header)) {
        return std::nullopt;
    }
    const uint8_t* ip = frame.data() + ethernet_header;
    const Family family = is_ipv4 ? Family::ipv4 : Family::ipv6;
    Question::Packet packet{.source = IpAddress::from_bytes(family, ip + (is_ipv4 ? 12 : 8)),
                            .destination = IpAddress::from_bytes(family, ip + (is_ipv4 ? 16 : 24)),
                            .protocol = ip[is_ipv4 ? 9 : 6],
                            .length = is_ipv4 ? get16(frame, ethernet_header + 2)
                                              : get16(frame, ethernet_header + 4) + uint32_t{ipv6_header}};
    const size_t header = is_ipv4 ? size_t{ip[0] & 0xfU} * 4 : ipv6_header;
    const bool later_fragment = is_ipv4 && (get16(frame, ethernet_header + 6) & 0x1fff) != 0;
    const bool has_ports = packet.protocol == IPPROTO_UDP || packet.protocol == IPPROTO_TCP;
    if (has_ports && !later_fragment && frame.size() >= ethernet_header + header + 4) {
        packet.source_port = get16(frame, ethernet_header + header);
        packet.destination_port = get16(frame, ethernet_header + header + 2);
    }
    return packet;
}

std::string hex(const std::vector<uint8_t>& bytes) {
    std::string out;
    for (const uint8_t byte : bytes) {
        out += fmt::format("{:02x}", byte);
    }
    return out;
}

}  // namespace millrace::cli
