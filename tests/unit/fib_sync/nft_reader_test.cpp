// SPDX-License-Identifier: BSD-3-Clause
// NftReader against the kernel, in a network namespace of its own.
#include "fib_sync/nft_reader.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace millrace::sync::test {
namespace {

bool nft(const std::string& commands) {
    const std::string line = fmt::format("printf '%b' '{}' | nft -f - 2>/dev/null", commands);
    return std::system(line.c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
}

class NftReaderInNetns : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        // The program's only thread; the namespace goes with it.
        ready_ = geteuid() == 0 && unshare(CLONE_NEWNET) == 0;
    }
    void SetUp() override {
        if (!ready_) {
            GTEST_SKIP() << "needs root, for a network namespace";
        }
        auto opened = NftReader::open();
        ASSERT_TRUE(opened) << opened.error().text();
        reader_.emplace(std::move(*opened));
        const auto generation = reader_->generation();
        ASSERT_TRUE(generation) << generation.error().text();
        if (!*generation) {
            GTEST_SKIP() << "this kernel has no nf_tables";
        }
        ASSERT_TRUE(nft("flush ruleset\\n"));
        reader_->news();
    }
    uint32_t generation() {
        const auto now = reader_->generation();
        return now ? now->value_or(0) : 0;
    }

    static bool ready_;
    std::optional<NftReader> reader_;
};
bool NftReaderInNetns::ready_ = false;

constexpr const char* chain =
    "table inet t {\\n chain c {\\n type filter hook forward priority -5; policy drop;\\n }\\n chain d {\\n }\\n }\\n";

TEST_F(NftReaderInNetns, EachTransactionIsNewsAndAGeneration) {
    const uint32_t before = generation();
    EXPECT_FALSE(reader_->news().any);
    ASSERT_TRUE(nft(chain));
    const NftReader::News news = reader_->news();
    EXPECT_TRUE(news.any);
    EXPECT_FALSE(news.lost);
    EXPECT_EQ(generation(), before + 1);
    EXPECT_FALSE(reader_->news().any);
}

TEST_F(NftReaderInNetns, BaseChainsWithTheirPolicy) {
    ASSERT_TRUE(nft(chain));
    const auto chains = reader_->chains();
    ASSERT_TRUE(chains) << chains.error().text();
    ASSERT_EQ(chains->size(), 1U);
    EXPECT_TRUE(chains->front() == (NftBaseChain{.family = NFPROTO_INET,
                                                 .table = "t",
                                                 .name = "c",
                                                 .hook = NF_INET_FORWARD,
                                                 .priority = -5,
                                                 .policy = NF_DROP,
                                                 .rules = 0,
                                                 .type = "filter"}));
}

TEST_F(NftReaderInNetns, RulesThatAFailingBatchDeletesAreThere) {
    ASSERT_TRUE(nft(chain));
    const auto chains = reader_->chains();
    ASSERT_TRUE(chains && chains->size() == 1);
    EXPECT_EQ(reader_->has_rules(chains->front()).value_or(true), false);
    ASSERT_TRUE(nft("add rule inet t c counter\\n"));
    EXPECT_EQ(reader_->has_rules(chains->front()).value_or(false), true);
    const uint32_t before = generation();
    ASSERT_FALSE(nft("flush chain inet t c\\nadd rule inet t d jump nowhere\\n"));
    EXPECT_EQ(reader_->has_rules(chains->front()).value_or(false), true);
    EXPECT_EQ(generation(), before);
}

TEST_F(NftReaderInNetns, SettlingChangesAndAnnouncesNothing) {
    ASSERT_TRUE(nft(chain));
    reader_->news();
    const uint32_t before = generation();
    for (int i = 0; i < 3; ++i) {
        const Status settled = reader_->settle();
        EXPECT_TRUE(settled) << settled.error().text();
    }
    EXPECT_EQ(generation(), before);
    EXPECT_FALSE(reader_->news().any);
}

TEST_F(NftReaderInNetns, LostNewsAreNews) {
    // What the kernel takes as the least.
    const int small = 0;
    setsockopt(reader_->fd(), SOL_SOCKET, SO_RCVBUFFORCE, &small, sizeof(small));
    std::string many;
    for (int i = 0; i < 200; ++i) {
        many += "add rule inet t c counter drop\\n";
    }
    ASSERT_TRUE(nft(std::string(chain) + many));
    EXPECT_TRUE(reader_->news().lost);
}

}  // namespace
}  // namespace millrace::sync::test
