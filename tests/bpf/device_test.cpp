// SPDX-License-Identifier: BSD-3-Clause
// What attaching does about VLAN tags, what the daemon makes of what it finds, and who takes a port's frames.
#include "steering_bpf/device.hpp"

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "dataplane/daemon/port_watch.hpp"
#include "steering_bpf/judge.hpp"
#include "steering_bpf/port.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using dataplane::hidden_tags;
using steering::Mode;
using steering::TagOffload;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint32_t both = MILLRACE_RESTORE_CTAG | MILLRACE_RESTORE_STAG;

Ifindex ifindex(const char* port) {
    return Ifindex{if_nametoindex(port)};
}

class DeviceTest : public VethTest {
  protected:
    static uint32_t on(const char* port = "e0") { return steering::tag_offload(port).value().on; }
    static uint32_t sees() {
        const auto found = steering::status(pin_root());
        EXPECT_TRUE(found && found->size() == 1) << found->size();
        return found && found->size() == 1 ? found->front().sees : 0;
    }
    // Not where the kernel or the driver is older.
    static bool driver_tells() { return steering::tells_tags(ifindex("e0")); }
};

TEST_F(DeviceTest, OffloadsOfAVethAreSwitched) {
    const auto offload = steering::tag_offload("e0");
    ASSERT_TRUE(offload) << offload.error().text();
    EXPECT_EQ(offload->on, both);
    EXPECT_EQ(offload->changeable, both);
    ASSERT_TRUE(steering::switch_tag_offload("e0", MILLRACE_RESTORE_STAG, false));
    EXPECT_EQ(on(), MILLRACE_RESTORE_CTAG);
    EXPECT_EQ(on("e1"), both);
    ASSERT_TRUE(steering::switch_tag_offload("e0", both, false));
    EXPECT_EQ(on(), 0U);
    ASSERT_TRUE(steering::switch_tag_offload("e0", both, true));
    EXPECT_EQ(on(), both);
}

TEST_F(DeviceTest, WhatIsNotThere) {
    EXPECT_FALSE(steering::tag_offload("e9"));
    EXPECT_FALSE(steering::switch_tag_offload("e9", both, false));
    EXPECT_FALSE(steering::switch_tag_offload("lo", both, true)) << "lo has no such offload";
    EXPECT_EQ(steering::tag_offload("lo").value().on, 0U);
    EXPECT_FALSE(steering::has_hardware(ifindex("e0")));
    EXPECT_FALSE(steering::tells_tags(ifindex("lo")));
    EXPECT_FALSE(steering::tells_tags(Ifindex{0xffff}));
}

TEST_F(DeviceTest, NativeModeSeesTagsAndLeavesTheOffloadsAlone) {
    if (!driver_tells()) {
        GTEST_SKIP() << "this kernel's veth doesn't tell which VLAN tag it has taken off";
    }
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mode, Mode::native);
    EXPECT_EQ(sees(), MILLRACE_SEES_TAKERS | MILLRACE_SEES_TAGS);
    EXPECT_EQ(on(), both);
    // So it is tested over real links (netns.vlan_tags): a program that is bound to a device has no other
    // run.
    const steering::Fd program(bpf_prog_get_fd_by_id(report->program_id));
    const uint8_t frame[64] = {};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame;
    options.data_size_in = sizeof(frame);
    EXPECT_NE(bpf_prog_test_run_opts(program.get(), &options), 0);
}

TEST_F(DeviceTest, WhereTagsAreNotSeenTheOffloadIsOffWhileAttached) {
    ASSERT_TRUE(steering::switch_tag_offload("e0", MILLRACE_RESTORE_STAG, false));  // the operator's
    ASSERT_TRUE(attach("e0", Mode::generic));
    EXPECT_EQ(sees() & MILLRACE_SEES_TAGS, 0U);
    EXPECT_EQ(on(), 0U);
    const auto again = attach("e0");
    ASSERT_TRUE(again && again->already_attached);
    ASSERT_TRUE(steering::detach("e0", pin_root()));
    EXPECT_EQ(on(), MILLRACE_RESTORE_CTAG);
}

// An attach that is killed between its steps leaves the pins, and no link.
TEST_F(DeviceTest, AKilledAttachIsUndoneByTheNextDetach) {
    ASSERT_TRUE(attach("e0", Mode::generic));
    ASSERT_EQ(unlink(pin(MILLRACE_PIN_LINK).c_str()), 0);
    EXPECT_EQ(on(), 0U);
    for (int tries = 0; tries < 500 && program_on("e0") != 0; ++tries) {
        usleep(10'000);  // the kernel drops a link some time after its last pin
    }
    ASSERT_EQ(program_on("e0"), 0U);
    ASSERT_TRUE(attach("e0", Mode::generic));
    EXPECT_EQ(on(), 0U);
    ASSERT_TRUE(steering::detach("e0", pin_root()));
    EXPECT_EQ(on(), both);
}

// The daemon, killed at any moment of attaching again, and again.
TEST_F(DeviceTest, AKilledAttachForgetsNeitherTheOperatorsWishNorTheOffloads) {
    const auto again = [] {
        return steering::attach_again("e0", {.pin_root = pin_root(), .mode = Mode::generic}).has_value();
    };
    const auto anew = [] {
        delete_veth();
        add_veth();
    };
    ASSERT_TRUE(attach("e0", Mode::generic));
    anew();
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(again());
    const std::chrono::duration<double, std::micro> takes = std::chrono::steady_clock::now() - begin;
    constexpr unsigned moments = 24;
    for (unsigned moment = 0; moment < moments; ++moment) {
        anew();
        for (const unsigned at : {moment, moments - moment}) {
            const pid_t child = fork();
            if (child == 0) {
                _exit(again() ? 0 : 1);
            }
            ASSERT_GT(child, 0);
            usleep(static_cast<useconds_t>(takes.count() * at / moments));
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
            ASSERT_TRUE(steering::has_pins("e0", pin_root())) << "killed at " << at << " of " << moments;
        }
        bool attached = again();
        for (int tries = 0; tries < 500 && !attached; ++tries) {
            usleep(10'000);  // the kernel drops a link some time after its last pin
            attached = again();
        }
        ASSERT_TRUE(attached);
        EXPECT_EQ(on(), 0U);
        ASSERT_TRUE(steering::detach("e0", pin_root()));
        ASSERT_EQ(on(), both) << "killed at " << moment << " of " << moments;
        ASSERT_TRUE(attach("e0", Mode::generic));
    }
}

TEST_F(DeviceTest, ARefusedAttachLeavesTheOffloadsOn) {
    const auto foreign = foreign_program();
    LIBBPF_OPTS(bpf_xdp_attach_opts, none);
    const int port = static_cast<int>(if_nametoindex("e0"));
    ASSERT_EQ(bpf_xdp_attach(port, foreign.get(), XDP_FLAGS_SKB_MODE, &none), 0);
    EXPECT_FALSE(attach("e0", Mode::generic));
    EXPECT_EQ(on(), both);
}

TEST(HiddenTags, WhatTheOperatorReads) {
    const PortConfig port{.name = "eth0"};
    const PortConfig none{.name = "eth0", .vlan_tags = VlanTags::none};
    const Result<TagOffload> off = TagOffload{.on = 0, .changeable = both};
    const Result<TagOffload> strips = TagOffload{.on = MILLRACE_RESTORE_CTAG, .changeable = both};
    const Result<TagOffload> service = TagOffload{.on = MILLRACE_RESTORE_STAG, .changeable = both};
    const Result<TagOffload> always = TagOffload{.on = MILLRACE_RESTORE_CTAG, .changeable = 0};
    const Result<TagOffload> unknown = fail("port eth0: cannot ask for its offloads", EPERM);
    EXPECT_THAT(hidden_tags(port, 0, true, off), IsEmpty());
    EXPECT_THAT(hidden_tags(port, 0, true, strips), HasSubstr("'ethtool -K eth0 rxvlan off'"));
    EXPECT_THAT(hidden_tags(port, 0, true, service), HasSubstr("rx-vlan-stag-hw-parse off"));
    EXPECT_THAT(hidden_tags(port, 0, true, always), testing::Not(HasSubstr("ethtool")));
    EXPECT_THAT(hidden_tags(port, 0, true, always), HasSubstr("vlan_tags = \"none\""));
    EXPECT_THAT(hidden_tags(port, 0, true, unknown), HasSubstr("can't be asked"));
    EXPECT_THAT(hidden_tags(port, 0, false, off), HasSubstr("can't be seen"))
        << "software: the tag is beside";
    for (const auto& offload : {off, strips, always, unknown}) {
        EXPECT_THAT(hidden_tags(none, 0, true, offload), IsEmpty());
        EXPECT_THAT(hidden_tags(port, MILLRACE_SEES_TAGS, false, offload), IsEmpty());
    }
}

class JudgeTest : public VethTest {
  protected:
    static steering::Taker taker() {
        auto judge = steering::Judge::load();
        EXPECT_TRUE(judge) << judge.error().text();
        auto found = judge ? judge->taker_of(ifindex("e0")) : fail("no judge");
        EXPECT_TRUE(found) << found.error().text();
        return found.value_or(steering::Taker{});
    }
    static bool add_macvlan(const char* name, const char* mode) {
        return run({"ip", "link", "add", "link", "e0", "name", name, "type", "macvlan", "mode", mode}).code ==
               0;
    }
};

TEST_F(JudgeTest, NothingAbove) {
    const auto found = taker();
    EXPECT_THAT(found.text, IsEmpty());
    EXPECT_EQ(found.macvlan.macvlan_handler, 0U);
    auto judge = steering::Judge::load();
    ASSERT_TRUE(judge);
    const auto gone = judge->taker_of(Ifindex{0xffff});
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, ENODEV);
}

TEST_F(JudgeTest, PlainMacvlansAreHarmlessAsLongAsAllAre) {
    if (!add_macvlan("m0", "bridge")) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    ASSERT_TRUE(add_macvlan("m1", "bridge"));
    EXPECT_THAT(taker().text, IsEmpty());
    EXPECT_NE(taker().macvlan.macvlan_handler, 0U);
    ASSERT_TRUE(add_macvlan("m2", "source"));
    EXPECT_THAT(taker().text, HasSubstr("mode source"));
    must_run({"ip", "link", "del", "m2"});
    EXPECT_THAT(taker().text, IsEmpty());
}

// macvlan_handle_frame goes by the address alone: the lower device's own may become that of one above it.
TEST_F(JudgeTest, AMacvlanWithThePortsOwnAddressTakesAll) {
    if (!add_macvlan("m0", "private")) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    must_run({"ip", "link", "set", "m0", "address", "02:00:00:00:00:77"});
    EXPECT_THAT(taker().text, IsEmpty());
    must_run({"ip", "link", "set", "e0", "address", "02:00:00:00:00:77"});
    EXPECT_THAT(taker().text, HasSubstr("with the port's MAC address"));
}

TEST_F(JudgeTest, MoreMacvlansThanAreLookedAt) {
    if (!add_macvlan("m0", "bridge")) {
        GTEST_SKIP() << "this kernel has no macvlan";
    }
    for (int i = 1; i < MILLRACE_MOST_MACVLANS; ++i) {
        ASSERT_TRUE(add_macvlan(fmt::format("m{}", i).c_str(), "bridge"));
    }
    EXPECT_THAT(taker().text, IsEmpty());
    ASSERT_TRUE(add_macvlan("more", "bridge"));
    EXPECT_THAT(taker().text, HasSubstr("more than 16"));
}

TEST_F(JudgeTest, ABridge) {
    must_run({"ip", "link", "add", "br9", "type", "bridge"});
    must_run({"ip", "link", "set", "e0", "master", "br9"});
    const auto found = taker();
    must_run({"ip", "link", "del", "br9"});
    EXPECT_EQ(found.text, "a bridge takes its frames");
    EXPECT_TRUE(found.of_netlink);
}

}  // namespace
}  // namespace millrace::test
