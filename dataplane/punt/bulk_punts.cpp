// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/bulk_punts.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace millrace::dataplane {

namespace {

constexpr size_t sample_size = 8;
constexpr unsigned looks_to_believe = 3;

// From narrow to wide.
std::array<unsigned, 4> lengths(Family family) {
    return family == Family::ipv4 ? std::array{24U, 16U, 8U, 0U} : std::array{64U, 48U, 32U, 0U};
}

bool is_wide(const Prefix& block) {
    return block.length <= lengths(block.address.family)[2];
}

}  // namespace

std::vector<Prefix> blocks_of(std::span<const IpAddress> addresses) {
    std::vector<Prefix> blocks;
    if (addresses.empty()) {
        return blocks;
    }
    for (const unsigned length : lengths(addresses.front().family)) {
        std::map<Prefix, size_t> in;
        for (const IpAddress& a : addresses) {
            ++in[Prefix::make(a, length)];
        }
        blocks.clear();
        size_t covered = 0;
        for (const auto& [block, n] : in) {
            if (n * 16 >= addresses.size()) {
                blocks.push_back(block);
                covered += n;
            }
        }
        if (covered * 8 >= addresses.size() * 7) {
            break;
        }
    }
    return blocks;
}

void BulkPunts::keep(uint64_t now_ms, PortId port, const Seen& seen, const Forwards& forwards,
                     uint64_t passed_ms) {
    const uint64_t rate = seen.punts.packets * 1000 / passed_ms;
    if (rate < (seen.dropped == 0 ? bulk : bulk / 10)) {
        std::erase_if(forwarding_, [&](const auto& entry) { return entry.first.port == port; });
        return;
    }
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        std::vector<IpAddress> of_family;
        std::copy_if(seen.punts.destinations.begin(), seen.punts.destinations.end(),
                     std::back_inserter(of_family), [&](const IpAddress& a) { return a.family == family; });
        // What is an eighth of them at most would not be worth its block.
        if (of_family.size() * 8 < seen.punts.destinations.size()) {
            continue;
        }
        for (const Prefix& block : blocks_of(of_family)) {
            // The fast path's traffic may be in a wide one, and more than the kernel can take.
            if (is_wide(block) && seen.forwarded > seen.punts.packets) {
                continue;
            }
            const auto at_most =
                static_cast<size_t>(std::count_if(blocks_.begin(), blocks_.end(), [&](const auto& b) {
                    return b.first.port == port && b.second.until_ms > now_ms;
                }));
            if (at_most >= most) {
                return;
            }
            // What was still on its way.
            if (std::any_of(blocks_.begin(), blocks_.end(), [&](const auto& b) {
                    return b.first.port == port && b.second.until_ms > now_ms &&
                           b.first.block.length <= block.length && b.first.block.contains(block.address);
                })) {
                continue;
            }
            std::vector<IpAddress> sample;
            for (const IpAddress& address : of_family) {
                if (sample.size() < sample_size && block.contains(address) && !forwards(port, address)) {
                    sample.push_back(address);
                }
            }
            // What was punted before its route came back is over in a moment.
            if (sample.empty() && ++forwarding_[{port, block}] < looks_to_believe) {
                continue;
            }
            Block& of = blocks_[{port, block}];
            const bool again = of.until_ms != 0 && now_ms - of.until_ms <= again_ms;
            of.hold_ms = again ? std::min(of.hold_ms * 2, longest_hold_ms) : first_hold_ms;
            of.until_ms = now_ms + of.hold_ms;
            of.rate = rate;
            of.sample = std::move(sample);
            forwarding_.erase({port, block});
        }
    }
}

bool BulkPunts::look(uint64_t now_ms, std::span<const Seen> seen, const Forwards& forwards) {
    const std::vector<Keep> before = keeps();
    std::erase_if(blocks_, [&](const auto& entry) {
        const PortId port = entry.first.port;
        const Block& block = entry.second;
        // Nothing that was punted because of its route is punted any more.
        const bool again =
            !block.sample.empty() && std::all_of(block.sample.begin(), block.sample.end(),
                                                 [&](const IpAddress& a) { return forwards(port, a); });
        return again || now_ms >= block.until_ms + again_ms;
    });
    const uint64_t passed_ms = now_ms - last_ms_;
    if (last_ms_ != 0 && passed_ms != 0) {
        for (size_t p = 0; p < seen.size(); ++p) {
            keep(now_ms, PortId{static_cast<uint16_t>(p)}, seen[p], forwards, passed_ms);
        }
    }
    last_ms_ = now_ms;
    return keeps() != before;
}

std::vector<Keep> BulkPunts::keeps() const {
    std::vector<Keep> keeps;
    for (const auto& [key, block] : blocks_) {
        if (last_ms_ < block.until_ms) {
            keeps.push_back({.cause = KeepCause::punts,
                             .port = names_[raw(key.port)],
                             .prefix = key.block,
                             .text = fmt::format("punted in bulk: {} packets a second", block.rate)});
        }
    }
    return keeps;
}

}  // namespace millrace::dataplane
