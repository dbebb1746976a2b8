// SPDX-License-Identifier: BSD-3-Clause
// Which packet `millrace explain` is about. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::cli {

struct Question {
    std::string port;
    // Of a packet that is to be made; nullopt: the frame is given.
    struct Packet {
        IpAddress source;
        IpAddress destination;
        uint8_t protocol = 0;      // IPPROTO_UDP, _TCP, _ICMP or _ICMPV6
        uint16_t source_port = 0;  // host order
        uint16_t destination_port = 0;
        uint32_t length = 0;  // bytes of layer 3
    };
    std::optional<Packet> packet{};
    std::vector<uint8_t> frame{};  // layer 2 included, FCS not
};

// words: "in PORT from A to B [udp|tcp SPORT DPORT | icmp] [length N]", or "in PORT" where frame has the
// hexadecimal digits of one. Without a protocol it is UDP, from 49152 to 33434. Error: what is wrong with
// them.
Result<Question> parse_question(const std::vector<std::string>& words, const std::string& frame);

// The packet as it would come in on the port, with plain headers: TTL 64, don't fragment, checksums right.
// mac: the port's.
std::vector<uint8_t> frame_of(const Question::Packet& packet, const MacAddress& mac);

// What a frame says of the flow that it is of. nullopt: it has no IP header, or only a part of one.
std::optional<Question::Packet> packet_of(const std::vector<uint8_t>& frame);

std::string hex(const std::vector<uint8_t>& bytes);

}  // namespace millrace::cli
