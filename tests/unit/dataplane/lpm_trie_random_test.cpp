// SPDX-License-Identifier: BSD-3-Clause
// LpmTrie against the naive table, by random changes from a printed seed. MILLRACE_FIB_STEPS and
// MILLRACE_FIB_SEED set how many changes each test makes and from which seed: millions by hand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "dataplane/fib/lpm_trie.hpp"
#include "naive_table.hpp"

namespace millrace::dataplane {
namespace {

uint64_t from_environment(const char* name, uint64_t fallback) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    return text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
}

struct Case {
    Family family;
    size_t limit;  // bytes of nodes
    LpmTrie::Lookup lookup;
    const char* name;
};

class LpmTrieRandom : public testing::TestWithParam<Case> {
  protected:
    LpmTrieRandom() : seed(from_environment("MILLRACE_FIB_SEED", std::random_device{}())), random(seed) {
        std::printf("MILLRACE_FIB_SEED=%llu\n", static_cast<unsigned long long>(seed));
    }
    void SetUp() override {
        if (GetParam().lookup == LpmTrie::Lookup::avx512 && !LpmTrie::has_avx512()) {
            GTEST_SKIP() << "this CPU has no AVX-512 that counts bits";
        }
        trie = std::make_unique<LpmTrie>(GetParam().family, GetParam().limit, quiescence);
        trie->select(GetParam().lookup);
        for (auto& p : pool) {
            p = random_prefix();
        }
        quiescence.add_worker(0);
        quiescence.online(0);
    }

    // Few distinct bits, so that prefixes nest, collide and cover each other.
    IpAddress random_address() {
        IpAddress a;
        a.family = GetParam().family;
        for (unsigned i = 0; i < a.size(); ++i) {
            a.bytes[i] = static_cast<uint8_t>(random() % 3 == 0 ? random() : random() % 2);
        }
        return a;
    }
    Prefix random_prefix() {
        const unsigned bits = address_bits(GetParam().family);
        return Prefix::make(random_address(), static_cast<unsigned>(random() % (bits + 1)));
    }
    // Within the prefix, at its edges or beside it.
    IpAddress address_near(const Prefix& p) {
        IpAddress a = random_address();
        const bool edge = random() % 2 != 0;
        const auto fill = static_cast<uint8_t>(random() % 2 != 0 ? 0xff : 0);
        for (unsigned bit = 0; bit < p.length || (edge && bit < address_bits(a.family)); ++bit) {
            const auto mask = static_cast<uint8_t>(0x80U >> (bit % 8));
            const uint8_t from = bit < p.length ? p.address.bytes[bit / 8] : fill;
            a.bytes[bit / 8] = static_cast<uint8_t>((a.bytes[bit / 8] & ~mask) | (from & mask));
        }
        if (random() % 4 == 0) {
            const unsigned bit = static_cast<unsigned>(random()) % address_bits(a.family);
            a.bytes[bit / 8] ^= static_cast<uint8_t>(0x80U >> (bit % 8));
        }
        return a;
    }
    void change_one() {
        Prefix& p = pool[random() % pool.size()];
        if (!naive.has(p) || random() % 4 == 0) {
            const auto drawn = static_cast<uint32_t>(random() % 5);  // 0 is a value too: punt
            const uint32_t value = drawn == raw(no_room) ? 5 : drawn;
            overflowed += trie->insert(p, value) ? 0 : 1;
            naive.insert(p, value);
            return;
        }
        ASSERT_TRUE(trie->remove(p));
        ASSERT_TRUE(naive.remove(p));
        if (random() % 8 == 0) {
            p = random_prefix();
        }
    }
    // exact: nothing may punt for want of room.
    void compare(bool exact, uint64_t step) {
        std::array<IpAddress, 33> addresses;
        std::array<uint32_t, 33> keys4;
        std::array<Key, 33> keys6;
        std::array<uint32_t, 33> values{};
        const size_t count = random() % 2 != 0 ? 33 : random() % 33;
        for (size_t i = 0; i < count; ++i) {
            addresses[i] = address_near(pool[random() % pool.size()]);
            keys6[i] = Key::of(addresses[i]);
            keys4[i] = static_cast<uint32_t>(keys6[i].high >> 32);
        }
        if (GetParam().family == Family::ipv4) {
            trie->lookup_bulk(std::span<const uint32_t>(keys4).first(count), values.data());
        } else {
            trie->lookup_bulk(std::span<const Key>(keys6).first(count), values.data());
        }
        for (size_t i = 0; i < count; ++i) {
            const uint32_t right = naive.lookup(addresses[i]);
            if (exact || values[i] != raw(no_room)) {
                ASSERT_EQ(values[i], right)
                    << addresses[i].text() << " at step " << step << ", seed " << seed;
            }
        }
    }
    void remove_all() {
        for (const Prefix& p : pool) {
            if (naive.remove(p)) {
                ASSERT_TRUE(trie->remove(p));
            }
        }
        for (int i = 0; i < 200 && (i < 3 || trie->usage().punting > 0); ++i) {
            trie->settle();
            quiescence.quiescent(0);
        }
        trie->settle();
    }

    uint64_t seed;
    std::mt19937_64 random;
    Quiescence quiescence{1};
    std::unique_ptr<LpmTrie> trie;
    test::NaiveTable naive;
    std::vector<Prefix> pool = std::vector<Prefix>(1500);
    uint64_t overflowed = 0;
};

TEST_P(LpmTrieRandom, EqualsTheNaiveTable) {
    const uint64_t steps = from_environment("MILLRACE_FIB_STEPS", 5000);
    const bool roomy = GetParam().limit > 1 << 20;
    for (uint64_t step = 0; step < steps && !HasFatalFailure(); ++step) {
        change_one();
        if (step % 4 == 0) {
            compare(trie->usage().punting == 0, step);
        }
        if (random() % 16 == 0) {
            trie->settle();
            quiescence.quiescent(0);
        }
    }
    EXPECT_EQ(overflowed == 0, roomy);
    remove_all();
    EXPECT_EQ(trie->usage().prefixes, 0U);
    EXPECT_EQ(trie->usage().node_bytes, 0U) << "every node came back";
    EXPECT_EQ(trie->usage().punting, 0U) << "and all punting has healed";
    compare(true, steps);
}

constexpr size_t plenty = 64 << 20;
constexpr size_t tight4 = 4 << 10;
constexpr size_t tight6 = 16 << 10;
INSTANTIATE_TEST_SUITE_P(All, LpmTrieRandom,
                         testing::Values(Case{Family::ipv4, plenty, LpmTrie::Lookup::scalar, "ipv4"},
                                         Case{Family::ipv4, tight4, LpmTrie::Lookup::scalar, "ipv4_full"},
                                         Case{Family::ipv4, plenty, LpmTrie::Lookup::avx512, "ipv4_avx512"},
                                         Case{Family::ipv6, plenty, LpmTrie::Lookup::scalar, "ipv6"},
                                         Case{Family::ipv6, tight6, LpmTrie::Lookup::scalar, "ipv6_full"},
                                         Case{Family::ipv6, plenty, LpmTrie::Lookup::avx512, "ipv6_avx512"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace millrace::dataplane
