// SPDX-License-Identifier: BSD-3-Clause
// What the kernel told while FRR 8.4.4 ran; tests/data/frr-8.4.4.txt says how it was recorded.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using OneMessage = std::vector<std::byte>;

std::vector<OneMessage> load(const std::string& name) {
    std::ifstream in(std::string(MILLRACE_TEST_DATA) + '/' + name, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    std::vector<OneMessage> messages;
    for (size_t at = 0; at + sizeof(nlmsghdr) <= all.size();) {
        nlmsghdr header;
        std::memcpy(&header, all.data() + at, sizeof(header));
        const auto* begin = reinterpret_cast<const std::byte*>(all.data()) + at;
        messages.emplace_back(begin, begin + header.nlmsg_len);
        at += NLMSG_ALIGN(header.nlmsg_len);
    }
    EXPECT_FALSE(messages.empty()) << name;
    return messages;
}

bool of_dump(const OneMessage& message) {
    nlmsghdr header;
    std::memcpy(&header, message.data(), sizeof(header));
    return (header.nlmsg_flags & NLM_F_MULTI) != 0;
}

// A dump, and then notifications with a commit for each.
void replay(Mirror& mirror, const std::vector<OneMessage>& messages) {
    mirror.begin_resync();
    bool dumping = true;
    for (const OneMessage& bytes : messages) {
        if (dumping && !of_dump(bytes)) {
            dumping = false;
            mirror.end_resync();
            mirror.commit();
        }
        const auto message = decode(bytes);
        ASSERT_TRUE(message.has_value()) << message.error().text();
        if (*message) {
            mirror.apply(**message);
        }
        if (!dumping) {
            mirror.commit();
        }
    }
    if (dumping) {
        mirror.end_resync();
        mirror.commit();
    }
}

TEST(Capture, Frr844EventsLeadToTheFinalTable) {
    RecordingSink by_events;
    Mirror a{by_events, {"e1", "e2"}};
    replay(a, load("frr-8.4.4-events.nlmsg"));
    EXPECT_FALSE(a.take_doubt());
    RecordingSink by_dump;
    Mirror b{by_dump, {"e1", "e2"}};
    replay(b, load("frr-8.4.4-final.nlmsg"));
    EXPECT_EQ(by_events.fib(), by_dump.fib());
    EXPECT_EQ(by_events.locals, by_dump.locals);
    EXPECT_EQ(by_events.interfaces, by_dump.interfaces);
    EXPECT_EQ(by_events.groups.size(), by_dump.groups.size());
    EXPECT_EQ(by_events.adjacencies.size(), by_dump.adjacencies.size());

    const auto members = [&](const char* prefix) {
        const std::string o = by_events.outcome(prefix);
        return o.starts_with("forward ") ? std::count(o.begin(), o.end(), '*') : -1;
    };
    EXPECT_EQ(members("10.0.0.0/8"), 2) << "BGP, both peers, withdrawn and announced again by one";
    EXPECT_EQ(members("10.1.0.0/16"), 1);
    EXPECT_EQ(members("10.2.0.0/16"), 1);
    EXPECT_EQ(members("198.18.0.0/15"), 2) << "static, two gateways";
    EXPECT_EQ(members("203.0.113.0/24"), 1);
    EXPECT_EQ(members("2001:db8:1000::/36"), 2);
    EXPECT_EQ(members("2001:db8:1000::/40"), 1);
    EXPECT_EQ(by_events.outcome("2001:db8:2000::/40"), "none") << "withdrawn";
    EXPECT_EQ(members("2001:db8:f00::/48"), 1);
    EXPECT_EQ(by_events.outcome("203.0.113.64/26"), "drop_blackhole");
    EXPECT_EQ(by_events.outcome("2001:db8:bad::/48"), "drop_blackhole");
    EXPECT_EQ(by_events.outcome("192.0.2.8/29"), "punt_glean");
    EXPECT_EQ(by_events.outcome("192.0.2.9/32"), "punt_local");
    EXPECT_EQ(members("192.0.2.10/32"), 1) << "the peer, a neighbour on a connected prefix";
    EXPECT_EQ(members("2001:db8:2::2/128"), 1);
    EXPECT_EQ(by_events.group_of("10.0.0.0/8"), by_events.group_of("198.18.0.0/15")) << "one nexthop object";
    EXPECT_TRUE(a.find_entry(net("10.0.0.0/8"))->group->nexthop.has_value());
}

TEST(Capture, CutAndFlipped) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    for (const char* name : {"frr-8.4.4-events.nlmsg", "frr-8.4.4-final.nlmsg"}) {
        for (const OneMessage& message : load(name)) {
            for (size_t size = 0; size < message.size(); ++size) {
                OneMessage cut(message.begin(), message.begin() + static_cast<ptrdiff_t>(size));
                cut.shrink_to_fit();
                EXPECT_FALSE(decode(cut).has_value());
            }
            for (int i = 0; i < 200; ++i) {
                OneMessage flipped = message;
                flipped[random() % flipped.size()] = static_cast<std::byte>(random() & 0xff);
                (void)decode(flipped);
            }
        }
    }
}

}  // namespace
}  // namespace millrace::sync::test
