// SPDX-License-Identifier: BSD-3-Clause
// Readers beside a writer, under ThreadSanitizer: no data race, and no result that was never in force. Each
// address has a set of values that it may find; the writer turns whole nodes over meanwhile, and reuses them.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "dataplane/fib/lpm_trie.hpp"

namespace millrace::dataplane {
namespace {

constexpr unsigned readers = 2;

struct Expected {
    IpAddress address;
    std::array<uint32_t, 2> values;
};

Prefix prefix(const char* text) {
    return Prefix::parse(text).value();
}
Expected expected(const char* address, uint32_t one, uint32_t other) {
    return {IpAddress::parse(address).value(), {one, other}};
}

struct Scene {
    Family family;
    std::vector<std::pair<Prefix, uint32_t>> always;
    std::vector<std::pair<Prefix, uint32_t>> flapping;
    std::vector<Prefix> noise;  // comes and goes with value 9, next to the others
    std::vector<Expected> expect;
};

Scene ipv4_scene() {
    Scene s{Family::ipv4,
            {{prefix("10.0.0.0/9"), 1}, {prefix("10.1.64.0/20"), 2}},
            {{prefix("10.1.64.0/24"), 3}, {prefix("10.1.64.7/32"), 4}, {prefix("10.1.0.0/16"), 5}},
            {},
            {expected("10.2.0.1", 1, 1), expected("10.1.0.1", 1, 5), expected("10.1.65.1", 2, 2),
             expected("10.1.64.9", 2, 3)}};
    for (uint32_t i = 0; i < 64; ++i) {
        s.noise.push_back(prefix(fmt::format("10.1.{}.{}/31", 66 + i % 32, i * 4).c_str()));
        s.noise.push_back(prefix(fmt::format("10.1.{}.0/25", 192 + i % 32).c_str()));
    }
    return s;
}

Scene ipv6_scene() {
    Scene s{Family::ipv6,
            {{prefix("2001:db8::/32"), 1}, {prefix("2001:db8:4000::/36"), 2}},
            {{prefix("2001:db8:4000::/48"), 3},
             {prefix("2001:db8:4000::7/128"), 4},
             {prefix("2001:db8::/33"), 5}},
            {},
            {expected("2001:db8:8000::1", 1, 1), expected("2001:db8::1", 1, 5),
             expected("2001:db8:4001::1", 2, 2), expected("2001:db8:4000::9", 2, 3)}};
    for (uint32_t i = 0; i < 64; ++i) {
        s.noise.push_back(prefix(fmt::format("2001:db8:4100:{:x}::/{}", i * 256, 56 + i % 9).c_str()));
        s.noise.push_back(prefix(fmt::format("2001:db8:4200::{:x}/128", i).c_str()));
    }
    return s;
}

class FibRace : public testing::TestWithParam<Family> {};

TEST_P(FibRace, ReadersFindNothingElse) {
    const Scene scene = GetParam() == Family::ipv4 ? ipv4_scene() : ipv6_scene();
    Quiescence quiescence(readers);
    LpmTrie trie(scene.family, 1 << 20, quiescence);
    trie.select(LpmTrie::Lookup::scalar);  // ThreadSanitizer does not see what vector instructions load
    for (const auto& [p, value] : scene.always) {
        trie.insert(p, value);
    }
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0};
    std::array<std::atomic<uint64_t>, readers> rounds{};
    std::vector<std::thread> threads;
    for (unsigned r = 0; r < readers; ++r) {
        quiescence.add_worker(r);
        threads.emplace_back([&, r] {
            std::vector<uint32_t> keys4;
            std::vector<Key> keys6;
            for (const Expected& e : scene.expect) {
                keys6.push_back(Key::of(e.address));
                keys4.push_back(static_cast<uint32_t>(keys6.back().high >> 32));
            }
            std::vector<uint32_t> found(keys6.size());
            quiescence.online(r);
            while (!stop.load(std::memory_order_relaxed)) {
                if (scene.family == Family::ipv4) {
                    trie.lookup_bulk(std::span<const uint32_t>(keys4), found.data());
                } else {
                    trie.lookup_bulk(std::span<const Key>(keys6), found.data());
                }
                for (size_t i = 0; i < found.size(); ++i) {
                    const auto& values = scene.expect[i].values;
                    wrong += found[i] == values[0] || found[i] == values[1] ? 0 : 1;
                }
                quiescence.quiescent(r);
                rounds[r].fetch_add(1, std::memory_order_relaxed);
            }
            quiescence.offline(r);
        });
    }
    std::mt19937 random(1);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    const auto enough = [&] {
        return rounds[0].load() > 1000 && rounds[1].load() > 1000 && std::chrono::steady_clock::now() > end;
    };
    const auto deadline = end + std::chrono::seconds(100);
    while (!enough() && std::chrono::steady_clock::now() < deadline) {
        for (int i = 0; i < 100; ++i) {
            const auto& [p, value] = scene.flapping[random() % scene.flapping.size()];
            random() % 2 != 0 ? (void)trie.insert(p, value) : (void)trie.remove(p);
            const Prefix& noise = scene.noise[random() % scene.noise.size()];
            random() % 2 != 0 ? (void)trie.insert(noise, 9) : (void)trie.remove(noise);
        }
        trie.settle();
    }
    stop = true;
    for (std::thread& t : threads) {
        t.join();
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_GT(rounds[0], 1000U);
    EXPECT_GT(rounds[1], 1000U);
    EXPECT_EQ(trie.usage().punting, 0U);
}

// The default route changes just after a prefix has come that hides it: who reads the two in between must
// not find the new default.
TEST_P(FibRace, DefaultRouteIsNeverSeenTooEarly) {
    const bool v4 = GetParam() == Family::ipv4;
    const Prefix all = prefix(v4 ? "0.0.0.0/0" : "::/0");
    const Prefix longer = prefix(v4 ? "10.1.0.0/16" : "2001:db8::/32");
    const IpAddress address = IpAddress::parse(v4 ? "10.1.2.3" : "2001:db8::1").value();
    Quiescence quiescence(1);
    LpmTrie trie(GetParam(), 1 << 20, quiescence);
    trie.select(LpmTrie::Lookup::scalar);
    trie.insert(all, 1);
    quiescence.add_worker(0);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0};
    std::atomic<uint64_t> rounds{0};
    std::thread reader([&] {
        quiescence.online(0);
        while (!stop.load(std::memory_order_relaxed)) {
            const uint32_t found = trie.lookup(address);
            wrong += found == 1 || found == 2 ? 0 : 1;
            quiescence.quiescent(0);
            rounds.fetch_add(1, std::memory_order_relaxed);
        }
        quiescence.offline(0);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    const auto deadline = end + std::chrono::seconds(100);
    while ((std::chrono::steady_clock::now() < end || rounds.load() < 1000) &&
           std::chrono::steady_clock::now() < deadline) {
        trie.insert(longer, 2);
        trie.insert(all, 3);  // hidden
        trie.insert(all, 1);
        trie.remove(longer);
        trie.settle();
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_GT(rounds, 1000U);
}

INSTANTIATE_TEST_SUITE_P(Families, FibRace, testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& test) { return test.param == Family::ipv4 ? "ipv4" : "ipv6"; });

}  // namespace
}  // namespace millrace::dataplane
