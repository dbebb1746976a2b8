// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/bulk_punts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

IpAddress address(const std::string& text) {
    return *IpAddress::parse(text);
}

std::vector<IpAddress> addresses(const std::string& pattern, unsigned count) {
    std::vector<IpAddress> all;
    for (unsigned i = 0; i < count; ++i) {
        all.push_back(address(fmt::format(fmt::runtime(pattern), i)));
    }
    return all;
}

std::vector<std::string> texts(const std::vector<Prefix>& blocks) {
    std::vector<std::string> all;
    for (const Prefix& block : blocks) {
        all.push_back(block.text());
    }
    return all;
}

TEST(BlocksTest, TheNarrowestThatHoldMostOfThem) {
    EXPECT_THAT(blocks_of({}), IsEmpty());
    EXPECT_THAT(texts(blocks_of(addresses("10.1.2.{}", 200))), ElementsAre("10.1.2.0/24"));
    EXPECT_THAT(texts(blocks_of(addresses("10.1.{}.1", 200))), ElementsAre("10.1.0.0/16"));
    EXPECT_THAT(texts(blocks_of(addresses("10.{}.1.1", 200))), ElementsAre("10.0.0.0/8"));
    EXPECT_THAT(texts(blocks_of(addresses("{}.1.1.1", 200))), ElementsAre("0.0.0.0/0"));
    EXPECT_THAT(texts(blocks_of(addresses("2001:db8::{:x}", 200))), ElementsAre("2001:db8::/64"));
    EXPECT_THAT(texts(blocks_of(addresses("2001:db8:0:{:x}::1", 200))), ElementsAre("2001:db8::/48"));
    EXPECT_THAT(texts(blocks_of(addresses("{:x}::1", 200))), ElementsAre("::/0"));
}

TEST(BlocksTest, AFewStrangersDontWidenThem) {
    auto all = addresses("10.1.2.{}", 90);
    const auto others = addresses("{}.7.7.7", 10);
    all.insert(all.end(), others.begin(), others.end());
    EXPECT_THAT(texts(blocks_of(all)), ElementsAre("10.1.2.0/24"));
}

TEST(PuntSampleTest, CountsAllAndKeepsSomeOfEachTime) {
    PuntSample sample;
    std::array<uint8_t, 60> frame{};
    frame[12] = 0x08;
    for (unsigned i = 0; i < 10'000; ++i) {
        frame[14 + 16] = 10;
        frame[14 + 17] = static_cast<uint8_t>(i / 1000);
        sample.saw(frame.data(), frame.size());
    }
    const auto taken = sample.take();
    EXPECT_EQ(taken.packets, 10'000U);
    EXPECT_EQ(taken.destinations.size(), 256U);
    std::set<IpAddress> different(taken.destinations.begin(), taken.destinations.end());
    EXPECT_EQ(different.size(), 10U);
    EXPECT_EQ(sample.take().packets, 0U);
}

TEST(PuntSampleTest, WhatIsShortOrNoIpHasNoDestination) {
    PuntSample sample;
    std::array<uint8_t, 60> frame{};
    sample.saw(frame.data(), frame.size());
    frame[12] = 0x86;
    frame[13] = 0xdd;
    for (size_t length = 0; length < 14 + 24 + 16; ++length) {
        sample.saw(frame.data(), length);
    }
    EXPECT_THAT(sample.take().destinations, IsEmpty());
    sample.saw(frame.data(), 14 + 24 + 16);
    EXPECT_THAT(sample.take().destinations, ElementsAre(address("::")));
}

class BulkPuntsTest : public testing::Test {
  protected:
    static constexpr uint64_t period = 50;
    // One period with so many packets a second.
    bool look(uint64_t rate, uint64_t dropped = 0, uint64_t forwarded = 0) {
        now_ += period;
        const std::vector<BulkPunts::Seen> seen = {
            {.punts = {.packets = rate * period / 1000, .destinations = rate == 0 ? none_ : to_},
             .forwarded = forwarded,
             .dropped = dropped},
            {}};
        return bulk_.look(now_, seen, [this](PortId, const IpAddress&) { return forwards_; });
    }
    void pass(uint64_t ms) {
        for (const uint64_t end = now_ + ms; now_ < end;) {
            look(0);
        }
    }
    [[nodiscard]] std::vector<std::string> kept() const {
        std::vector<std::string> all;
        for (const Keep& k : bulk_.keeps()) {
            all.push_back(k.port + " " + k.prefix->text());
        }
        return all;
    }
    void SetUp() override { look(0); }

    std::vector<IpAddress> to_ = addresses("10.1.2.{}", 64);
    bool forwards_ = false;
    BulkPunts bulk_{{"e0", "e1"}};

  private:
    std::vector<IpAddress> none_;
    uint64_t now_ = 1000;
};

TEST_F(BulkPuntsTest, OnlyWhatIsBulk) {
    EXPECT_FALSE(look(BulkPunts::bulk - 20));
    EXPECT_THAT(kept(), IsEmpty());
    EXPECT_TRUE(look(BulkPunts::bulk));
    EXPECT_THAT(kept(), ElementsAre("e0 10.1.2.0/24"));
    EXPECT_FALSE(look(BulkPunts::bulk));
}

TEST_F(BulkPuntsTest, SoonerWhereSomeWereLost) {
    EXPECT_FALSE(look(BulkPunts::bulk / 20, 1));
    EXPECT_TRUE(look(BulkPunts::bulk / 10, 1));
    EXPECT_THAT(kept(), ElementsAre("e0 10.1.2.0/24"));
}

TEST_F(BulkPuntsTest, IsTriedAgainAndEachTimeLater) {
    uint64_t hold = BulkPunts::first_hold_ms;
    for (int round = 0; round < 8; ++round) {
        ASSERT_TRUE(look(50'000));
        pass(hold - period);
        EXPECT_THAT(kept(), ElementsAre("e0 10.1.2.0/24"));
        pass(period);
        EXPECT_THAT(kept(), IsEmpty()) << hold;
        hold = std::min(hold * 2, BulkPunts::longest_hold_ms);
    }
}

TEST_F(BulkPuntsTest, AfterACalmTimeAsAtFirst) {
    look(50'000);
    pass(BulkPunts::first_hold_ms + BulkPunts::again_ms + period);
    look(50'000);
    pass(BulkPunts::first_hold_ms);
    EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(BulkPuntsTest, EndsWhenTheRouteForwards) {
    look(50'000);
    forwards_ = true;
    EXPECT_TRUE(look(0));
    EXPECT_THAT(kept(), IsEmpty());
}

// Too long for the egress, for instance.
TEST_F(BulkPuntsTest, WhatIsPuntedThoughTheRouteForwardsIsKeptForItsTime) {
    forwards_ = true;
    EXPECT_FALSE(look(50'000));
    EXPECT_FALSE(look(0)) << "what was punted before the route came back";
    EXPECT_FALSE(look(50'000));
    EXPECT_FALSE(look(50'000));
    EXPECT_TRUE(look(50'000));
    EXPECT_FALSE(look(0));
    EXPECT_THAT(kept(), ElementsAre("e0 10.1.2.0/24"));
}

TEST_F(BulkPuntsTest, AWideBlockOnlyWhereTheFastPathHasLessToDo) {
    to_ = addresses("{}.1.1.1", 200);
    EXPECT_FALSE(look(50'000, 0, 100'000));
    EXPECT_TRUE(look(50'000, 0, 1'000));
    EXPECT_THAT(kept(), ElementsAre("e0 0.0.0.0/0"));
    to_ = addresses("10.1.2.{}", 64);
    EXPECT_FALSE(look(50'000)) << "it is in the wide one";
}

TEST_F(BulkPuntsTest, BothFamiliesAtOnce) {
    const auto six = addresses("2001:db8::{:x}", 64);
    to_.insert(to_.end(), six.begin(), six.end());
    EXPECT_TRUE(look(50'000));
    EXPECT_THAT(kept(), ElementsAre("e0 10.1.2.0/24", "e0 2001:db8::/64"));
}

TEST_F(BulkPuntsTest, NoMoreThanItsShareOfTheClassifier) {
    for (unsigned i = 0; i < BulkPunts::most + 10; ++i) {
        to_ = addresses(fmt::format("10.{}.2.{{}}", i), 64);
        look(50'000);
    }
    EXPECT_EQ(kept().size(), BulkPunts::most);
}

}  // namespace
}  // namespace millrace::dataplane
