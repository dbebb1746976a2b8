// SPDX-License-Identifier: BSD-3-Clause
// What the classifier would say of a frame, without a trace of the question.
#include "steering_bpf/trial.hpp"

#include <algorithm>

#include "classifier_fixture.hpp"
#include "steering_bpf/reason_names.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

const Frame plain4 = Frame().ethernet().ipv4().udp().payload(18);
const Frame plain6 = Frame().ethernet().ipv6().udp().payload(18);

std::string said(const Result<steering::Trial>& trial) {
    return trial ? std::string(steering::reason_names[trial->reason]) : trial.error().text();
}

class TrialTest : public ClassifierTest {
  protected:
    // Tries it, and then has the attached one run on it.
    void agree(millrace_steer_reason reason, const Frame& frame) {
        const auto before = maps().counters();
        const auto trial = steering::try_frame("lo", pin_root(), frame.bytes());
        ASSERT_TRUE(trial) << trial.error().text();
        EXPECT_EQ(said(trial), steering::reason_names[reason]);
        EXPECT_EQ(trial->left_out, 0U);
        const auto after = maps().counters();
        ASSERT_TRUE(before && after);
        for (size_t r = 0; r < after->size(); ++r) {
            EXPECT_EQ((*after)[r].packets, (*before)[r].packets) << steering::reason_names[r];
        }
        expect(reason, frame.bytes());
    }
};

TEST_F(TrialTest, SaysWhatTheAttachedOneSays) {
    for (const Case& c :
         {Case{"", plain4, MILLRACE_STEER_REDIRECT},
          {"", plain6, MILLRACE_STEER_REDIRECT},
          {"", Frame().ethernet({.destination = host_mac}).ipv4().udp(), MILLRACE_STEER_NOT_OUR_MAC},
          {"", Frame().ethernet().vlan().ipv4().udp().payload(18), MILLRACE_STEER_NOT_IP},
          {"", Frame().ethernet().ipv4({.ttl = 1}).udp(), MILLRACE_STEER_TTL},
          {"", Frame().ethernet().ipv6({.hop_limit = 1}).udp(), MILLRACE_STEER_TTL}}) {
        agree(c.reason, c.frame);
    }
}

TEST_F(TrialTest, SeesWhatThePortsMapsSayNow) {
    agree(MILLRACE_STEER_REDIRECT, plain4);
    add_local(address("198.51.100.1"));
    agree(MILLRACE_STEER_LOCAL, Frame().ethernet().ipv4({.destination = address("198.51.100.1")}).udp());
    ASSERT_TRUE(
        maps().set_keep({.prefixes = {*Prefix::parse("203.0.113.0/24")}, .protocols = {}, .l4_ports = {}}));
    agree(MILLRACE_STEER_KEEP_PREFIX, Frame().ethernet().ipv4({.destination = address("203.0.113.9")}).udp());
    remove_socket();
    agree(MILLRACE_STEER_NO_SOCKET, plain6);
    maps().beat(0);
    agree(MILLRACE_STEER_STALE, plain6);
    ASSERT_TRUE(maps().enable(false));
    agree(MILLRACE_STEER_DISABLED, plain6);
}

TEST_F(TrialTest, OfAPortWithoutAClassifierIsAnError) {
    const auto trial = steering::try_frame("nothing", pin_root(), plain4.bytes());
    ASSERT_FALSE(trial);
    EXPECT_EQ(trial.error().text().find('\n'), std::string::npos);
}

// A program that is bound to its device, as it is where tags are seen, can't be run on a frame.
TEST_F(VethTest, TriesAFrameWhereTheClassifierIsBoundToItsDevice) {
    const auto report = attach("e0", steering::Mode::native);
    ASSERT_TRUE(report) << report.error().text();
    const auto attached = steering::attached("e0", pin_root());
    ASSERT_TRUE(attached);
    if ((attached->sees & MILLRACE_SEES_TAGS) == 0) {
        GTEST_SKIP() << "no classifier of this kernel sees a veth's tags";
    }
    EXPECT_EQ(said(steering::try_frame("e0", pin_root(), plain4.bytes())), "disabled");
    auto maps = steering::PortMaps::open("e0", pin_root());
    ASSERT_TRUE(maps);
    millrace_steer_config config{};
    config.flags = MILLRACE_FLAG_ENABLED;
    config.max_frame = test_max_frame;
    std::copy(router_mac.bytes.begin(), router_mac.bytes.end(), config.mac);
    ASSERT_TRUE(maps->configure(config));
    const auto own = steering::LocalTable::create(Family::ipv4);
    ASSERT_TRUE(own && maps->set_local(*own));
    const auto trial = steering::try_frame("e0", pin_root(), plain4.bytes());
    EXPECT_EQ(said(trial), "stale_heartbeat") << "all else is well";
    ASSERT_TRUE(trial);
    EXPECT_EQ(trial->left_out, MILLRACE_SEES_TAGS);
}

}  // namespace
}  // namespace millrace::test
