// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/lpm_trie.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

namespace millrace::dataplane {
namespace {

Prefix prefix(const char* text) {
    return Prefix::parse(text).value();
}

uint32_t lookup(const LpmTrie& trie, const char* address) {
    return trie.lookup(IpAddress::parse(address)->bytes.data());
}

// The obviously right one: the longest prefix that contains the address.
class NaiveTable {
  public:
    void insert(const Prefix& p, uint32_t value) { routes_[p] = value; }
    bool remove(const Prefix& p) { return routes_.erase(p) != 0; }
    [[nodiscard]] uint32_t lookup(const IpAddress& a) const {
        for (unsigned length = address_bits(a.family) + 1; length-- > 0;) {
            const auto found = routes_.find(Prefix::make(a, length));
            if (found != routes_.end()) {
                return found->second;
            }
        }
        return 0;
    }
    [[nodiscard]] const std::map<Prefix, uint32_t>& routes() const { return routes_; }

  private:
    std::map<Prefix, uint32_t> routes_;
};

struct Trie {
    explicit Trie(uint32_t nodes = 4096) : trie(nodes, quiescence) {}
    Quiescence quiescence{1};
    LpmTrie trie;
};

TEST(LpmTrie, EmptyFindsNothing) {
    const Trie t;
    EXPECT_EQ(lookup(t.trie, "192.0.2.1"), 0U);
}

TEST(LpmTrie, LongestPrefixWinsWhateverTheOrder) {
    Trie t;
    t.trie.insert(prefix("10.1.2.3/32"), 5);
    t.trie.insert(prefix("10.1.0.0/16"), 3);
    t.trie.insert(prefix("0.0.0.0/0"), 1);
    t.trie.insert(prefix("10.1.2.0/25"), 4);
    t.trie.insert(prefix("10.0.0.0/8"), 2);
    EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 5U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.4"), 4U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.127"), 4U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.128"), 3U);
    EXPECT_EQ(lookup(t.trie, "10.2.0.0"), 2U);
    EXPECT_EQ(lookup(t.trie, "11.0.0.0"), 1U);
}

TEST(LpmTrie, RemovedPrefixGivesWayToItsCover) {
    Trie t;
    t.trie.insert(prefix("::/0"), 1);
    t.trie.insert(prefix("2001:db8::/32"), 2);
    t.trie.insert(prefix("2001:db8:1::/48"), 3);
    t.trie.insert(prefix("2001:db8:1::1/128"), 4);
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 4U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8:1::1/128")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 3U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8::/32")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 3U);
    EXPECT_EQ(lookup(t.trie, "2001:db8:2::1"), 1U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8:1::/48")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 1U);
    EXPECT_FALSE(t.trie.remove(prefix("2001:db8:1::/48")));
}

TEST(LpmTrie, NodesComeBackAfterTheGracePeriod) {
    Trie t(2);
    for (int round = 0; round < 1000; ++round) {
        ASSERT_TRUE(t.trie.insert(prefix("10.1.2.3/32"), 5)) << "round " << round;
        EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 5U);
        ASSERT_TRUE(t.trie.remove(prefix("10.1.2.3/32")));
        EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 0U);
        t.quiescence.close_batch();
    }
    EXPECT_EQ(t.trie.nodes_in_use(), 0U);
}

TEST(LpmTrie, NodesStayWhileAWorkerMayReadThem) {
    Trie t(4);
    t.quiescence.add_worker(0);
    t.quiescence.online(0);
    t.trie.insert(prefix("10.1.2.3/32"), 5);
    t.trie.remove(prefix("10.1.2.3/32"));
    t.quiescence.close_batch();
    EXPECT_EQ(t.trie.nodes_in_use(), 2U) << "the worker has not reported yet";
    t.quiescence.quiescent(0);
    t.quiescence.close_batch();
    EXPECT_EQ(t.trie.nodes_in_use(), 0U);
}

TEST(LpmTrie, FullTableBecomesPuntNeverTheWrongCover) {
    Trie t(1);
    t.trie.insert(prefix("0.0.0.0/0"), 1);
    ASSERT_TRUE(t.trie.insert(prefix("10.1.2.0/24"), 2));
    EXPECT_FALSE(t.trie.insert(prefix("10.2.2.0/24"), 3));
    EXPECT_EQ(lookup(t.trie, "10.2.2.1"), 0U) << "punt, and not the default route";
    EXPECT_EQ(lookup(t.trie, "10.1.2.1"), 2U);
    EXPECT_EQ(lookup(t.trie, "10.3.0.1"), 1U);
    // A shorter prefix that comes later does not hide the hole.
    t.trie.insert(prefix("10.0.0.0/8"), 4);
    EXPECT_EQ(lookup(t.trie, "10.2.2.1"), 0U);
    EXPECT_TRUE(t.trie.remove(prefix("10.2.2.0/24")));
    EXPECT_TRUE(t.trie.remove(prefix("10.1.2.0/24")));
    EXPECT_EQ(t.trie.overflowed(), 1U);
}

class LpmTrieRandom : public testing::TestWithParam<Family> {};

TEST_P(LpmTrieRandom, EqualsTheNaiveTable) {
    const Family family = GetParam();
    const auto seed = std::random_device{}();
    RecordProperty("seed", std::to_string(seed));
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 engine(seed);
    const auto random = [&engine] { return static_cast<uint32_t>(engine()); };
    Trie t(1 << 16);
    NaiveTable naive;
    const unsigned bits = address_bits(family);
    // Few distinct bits, so that prefixes nest, collide and cover each other.
    const auto random_address = [&] {
        IpAddress a;
        a.family = family;
        for (unsigned i = 0; i < a.size(); ++i) {
            a.bytes[i] = static_cast<uint8_t>(random() % 3 == 0 ? random() : random() % 2);
        }
        return a;
    };
    for (int step = 0; step < 10000; ++step) {
        const Prefix p = Prefix::make(random_address(), random() % (bits + 1));
        if (naive.routes().size() < 1000 && random() % 3 != 0) {
            const uint32_t value = 1 + random() % 1000;
            ASSERT_TRUE(t.trie.insert(p, value));
            naive.insert(p, value);
        } else if (!naive.routes().empty()) {
            auto victim = naive.routes().lower_bound(p);
            const Prefix gone =
                victim == naive.routes().end() ? naive.routes().begin()->first : victim->first;
            ASSERT_TRUE(t.trie.remove(gone));
            naive.remove(gone);
        }
        const IpAddress a = random_address();
        ASSERT_EQ(t.trie.lookup(a.bytes.data()), naive.lookup(a)) << a.text() << " at step " << step;
        if (step % 16 == 0) {
            t.quiescence.close_batch();
        }
    }
    std::vector<IpAddress> addresses(1000);
    std::vector<const uint8_t*> keys;
    for (auto& a : addresses) {
        a = random_address();
        keys.push_back(a.bytes.data());
    }
    std::vector<uint32_t> values(keys.size());
    t.trie.lookup_bulk(keys, values.data());
    for (size_t i = 0; i < keys.size(); ++i) {
        ASSERT_EQ(values[i], naive.lookup(addresses[i])) << addresses[i].text();
    }
    while (!naive.routes().empty()) {
        const Prefix p = naive.routes().begin()->first;
        ASSERT_TRUE(t.trie.remove(p));
        naive.remove(p);
    }
    t.quiescence.close_batch();
    EXPECT_EQ(t.trie.nodes_in_use(), 0U) << "every node came back";
}

INSTANTIATE_TEST_SUITE_P(Families, LpmTrieRandom, testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& test) { return test.param == Family::ipv4 ? "ipv4" : "ipv6"; });

// A reader sees the value of the /32 or of its cover at any time: never that of a reused node.
TEST(LpmTrie, ReaderNeverSeesAnythingElse) {
    Trie t(64);
    t.trie.insert(prefix("10.0.0.0/8"), 1);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> wrong{0};
    std::atomic<uint64_t> lookups{0};
    std::thread reader([&] {
        t.quiescence.add_worker(0);
        t.quiescence.online(0);
        const auto a = IpAddress::parse("10.1.2.3").value();
        while (!stop.load()) {
            const uint32_t v = t.trie.lookup(a.bytes.data());
            wrong += v != 1 && v != 2 ? 1 : 0;
            lookups += 1;
            t.quiescence.quiescent(0);
        }
        t.quiescence.offline(0);
    });
    while (lookups == 0) {
        std::this_thread::yield();
    }
    for (uint32_t i = 0; i < 20000; ++i) {
        const auto other = Prefix::make(IpAddress::parse("172.16.0.0").value(), 32);
        t.trie.insert(prefix("10.1.2.3/32"), 2);
        t.trie.insert(Prefix{{Family::ipv4, {172, 16, static_cast<uint8_t>(i), 1}}, 32}, 77);
        t.trie.remove(prefix("10.1.2.3/32"));
        t.trie.insert(other, 88);
        t.trie.remove(other);
        t.trie.remove(Prefix{{Family::ipv4, {172, 16, static_cast<uint8_t>(i), 1}}, 32});
        do {
            t.quiescence.close_batch();
        } while (t.quiescence.waiting() > 16);
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(t.trie.overflowed(), 0U);
}

}  // namespace
}  // namespace millrace::dataplane
