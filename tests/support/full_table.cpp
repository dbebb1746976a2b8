// SPDX-License-Identifier: BSD-3-Clause
#include "support/full_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <unordered_set>

namespace millrace::test {

namespace {

struct Share {
    unsigned length;
    double percent;
};
// Published counts of 2025/26 tables, rounded; the host routes are an operator's own.
constexpr auto shares4 = std::to_array<Share>({
    {24, 62.0}, {23, 10.8}, {22, 11.0}, {21, 5.0},  {20, 4.1},  {19, 2.3},  {18, 1.2},  {17, 0.75},
    {16, 1.25}, {15, 0.18}, {14, 0.11}, {13, 0.05}, {12, 0.03}, {11, 0.01}, {10, .004}, {9, .0012},
    {8, .0014}, {32, 0.8},  {25, 0.1},  {26, 0.08}, {27, 0.06}, {28, 0.06}, {29, 0.06}, {30, 0.05},
});
constexpr auto shares6 = std::to_array<Share>({
    {48, 50.0}, {32, 13.0}, {44, 10.0}, {40, 9.0}, {46, 5.0}, {36, 3.0}, {47, 1.6},   {29, 1.6},  {42, 1.4},
    {33, 1.0},  {45, 0.8},  {34, 0.8},  {38, 0.8}, {35, 0.4}, {43, 0.4}, {30, 0.3},   {31, 0.2},  {28, 0.2},
    {24, 0.02}, {20, 0.01}, {41, 0.1},  {39, 0.1}, {37, 0.1}, {64, 0.1}, {128, 0.05}, {56, 0.02},
});
struct Block {
    const char* prefix;
    unsigned weight;  // of 100 IPv6 allocations
};
constexpr auto blocks6 = std::to_array<Block>({{"2001:200::/23", 2},
                                               {"2001:400::/23", 3},
                                               {"2001:600::/23", 6},
                                               {"2400::/12", 26},
                                               {"2600::/12", 21},
                                               {"2800::/12", 12},
                                               {"2a00::/12", 27},
                                               {"2c00::/12", 3}});

class Maker {
  public:
    explicit Maker(const FullTableOptions& options) : o_(options), random_(options.seed) {}

    std::vector<std::pair<Prefix, uint32_t>> make() {
        const auto shares =
            o_.family == Family::ipv4 ? std::span<const Share>(shares4) : std::span<const Share>(shares6);
        std::vector<Share> by_length(shares.begin(), shares.end());
        std::sort(by_length.begin(), by_length.end(),
                  [](const Share& a, const Share& b) { return a.length < b.length; });
        if (!o_.uniform) {
            allocate();
        }
        double total = 0;
        for (const Share& s : shares) {
            total += s.percent;
        }
        for (const Share& s : by_length) {
            const auto wanted = static_cast<size_t>(s.percent / total * static_cast<double>(o_.prefixes));
            add(s.length, s.length == most() ? 0 : wanted);
        }
        add(most(), o_.prefixes - table_.size());  // what rounding left over as well
        std::shuffle(table_.begin(), table_.end(), random_);
        return std::move(table_);
    }

  private:
    struct Allocation {
        Prefix prefix;
        uint32_t home;
        uint32_t cursor = 0;  // where the next run of more-specifics goes
    };

    [[nodiscard]] unsigned most() const { return o_.family == Family::ipv4 ? 24 : 48; }
    uint64_t below(uint64_t n) { return random_() % n; }

    // The bits between two lengths, as a number.
    static void put(IpAddress& a, unsigned from, unsigned to, uint64_t value) {
        for (unsigned bit = to; bit-- > from; value >>= 1) {
            const auto mask = static_cast<uint8_t>(0x80U >> (bit % 8));
            a.bytes[bit / 8] =
                static_cast<uint8_t>((value & 1) != 0 ? a.bytes[bit / 8] | mask : a.bytes[bit / 8] & ~mask);
        }
    }
    IpAddress anywhere() {
        IpAddress a;
        a.family = o_.family;
        for (unsigned i = 0; i < a.size(); ++i) {
            a.bytes[i] = static_cast<uint8_t>(random_());
        }
        if (o_.family == Family::ipv6) {
            a.bytes[0] = static_cast<uint8_t>(0x20 | (a.bytes[0] & 0x1f));
        } else {
            while (a.bytes[0] == 0 || a.bytes[0] == 10 || a.bytes[0] == 127 || a.bytes[0] >= 224) {
                a.bytes[0] = static_cast<uint8_t>(random_());
            }
        }
        return a;
    }

    void allocate() {
        const size_t count = o_.prefixes / (o_.family == Family::ipv4 ? 15 : 6) + 16;
        std::array<uint32_t, blocks6.size()> next{};
        for (size_t i = 0; i < count; ++i) {
            Allocation a{{}, zipf(random_, o_.next_hops)};
            if (o_.family == Family::ipv4) {
                constexpr std::array<uint8_t, 16> lengths{12, 13, 14, 15, 16, 16, 16, 17,
                                                          18, 19, 19, 20, 20, 21, 22, 22};
                a.prefix = Prefix::make(anywhere(), lengths[below(lengths.size())]);
            } else {
                size_t block = 0;
                for (uint64_t w = below(100); w >= blocks6[block].weight; ++block) {
                    w -= blocks6[block].weight;
                }
                const Prefix whole = Prefix::parse(blocks6[block].prefix).value();
                const unsigned length = below(5) < 2 ? 29 : 32;
                next[block] += static_cast<uint32_t>(1 + below(3));  // in units of /29
                IpAddress address = whole.address;
                put(address, whole.length, 29, next[block] % (1U << (29 - whole.length)));
                a.prefix = Prefix::make(address, length);
            }
            allocations_.push_back(a);
        }
        std::shuffle(allocations_.begin(), allocations_.end(), random_);
    }

    void insert(const Prefix& prefix, uint32_t value) {
        if (seen_.insert(prefix).second) {
            table_.emplace_back(prefix, value);
        }
    }

    void add(unsigned length, size_t count) {
        const size_t end = table_.size() + count;
        // A share that does not fit into what there is of this length would never end.
        for (size_t tries = 0; table_.size() < end && tries < count * 100; ++tries) {
            if (o_.uniform) {
                insert(Prefix::make(anywhere(), length), static_cast<uint32_t>(1 + below(o_.next_hops)));
            } else {
                announce(length, end);
            }
        }
    }

    void announce(unsigned length, size_t end) {
        Allocation* a = nullptr;
        if (below(4) == 0) {
            a = &allocations_[below(allocations_.size())];
        } else {
            a = &allocations_[zipf(random_, static_cast<uint32_t>(allocations_.size())) - 1];
        }
        const auto next_hop = [&] { return below(4) != 0 ? a->home : zipf(random_, o_.next_hops); };
        if (length <= a->prefix.length) {
            // The allocation itself, or several side by side announced as one.
            insert(Prefix::make(
                       length < a->prefix.length && below(2) != 0 ? anywhere_near(*a) : a->prefix.address,
                       length),
                   next_hop());
            return;
        }
        const unsigned bits = std::min(length - a->prefix.length, 40U);
        const unsigned base = length - bits;
        uint64_t position = below(uint64_t{1} << bits);
        if (below(3) != 0) {
            position = a->cursor++ % (uint64_t{1} << bits);  // the space fills from its start
        }
        const uint64_t run = below(3) == 0 ? 1 : 1 + below(8);
        const uint32_t hop = next_hop();
        for (uint64_t i = 0; i < run && table_.size() < end; ++i) {
            IpAddress address = a->prefix.address;
            put(address, base, length, (position + i) % (uint64_t{1} << bits));
            insert(Prefix::make(address, length), below(8) != 0 ? hop : next_hop());
        }
        a->cursor += static_cast<uint32_t>(run);
    }

    IpAddress anywhere_near(const Allocation& a) {
        IpAddress address = a.prefix.address;
        const unsigned first = o_.family == Family::ipv4 ? 8 : 16;
        put(address, first, a.prefix.length, below(uint64_t{1} << (a.prefix.length - first)));
        return address;
    }

    FullTableOptions o_;
    std::mt19937_64 random_;
    std::vector<Allocation> allocations_;
    std::unordered_set<Prefix> seen_;
    std::vector<std::pair<Prefix, uint32_t>> table_;
};

}  // namespace

uint32_t zipf(std::mt19937_64& random, uint32_t n) {
    // The inverse of the continuous distribution with density 1/x on 1 .. n + 1.
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    return std::min(n, static_cast<uint32_t>(std::exp(u * std::log(n + 1.0))));
}

std::vector<std::pair<Prefix, uint32_t>> full_table(const FullTableOptions& options) {
    return Maker(options).make();
}

}  // namespace millrace::test
