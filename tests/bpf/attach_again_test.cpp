// SPDX-License-Identifier: BSD-3-Clause
// What the daemon does when a port's netdev was replaced, and names that are not a netdev's own.
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <chrono>
#include <future>

#include "steering_bpf/port.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using steering::Mode;
using testing::HasSubstr;

class AttachAgainTest : public VethTest {
  protected:
    static auto again(Mode mode = Mode::automatic) {
        return steering::attach_again("e0", {.pin_root = pin_root(), .mode = mode});
    }
};

TEST_F(AttachAgainTest, OnlyWhereItWasAttached) {
    EXPECT_FALSE(steering::has_pins("e0", pin_root()));
    auto report = again();
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().text(), HasSubstr("no classifier attached"));
    ASSERT_TRUE(attach("e0"));
    EXPECT_TRUE(steering::has_pins("e0", pin_root()));
    report = again();
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->already_attached);
    ASSERT_TRUE(steering::detach("e0", pin_root()));
    EXPECT_FALSE(again());
    EXPECT_EQ(program_on("e0"), 0U);
}

TEST_F(AttachAgainTest, NetdevMadeAnewInTheSameMode) {
    const auto first = attach("e0", Mode::generic);
    ASSERT_TRUE(first);
    delete_veth();
    EXPECT_FALSE(again()) << "there is no netdev";
    EXPECT_TRUE(steering::has_pins("e0", pin_root()));
    add_veth();
    EXPECT_FALSE(steering::attached("e0", pin_root()));
    const auto report = again(Mode::generic);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_FALSE(report->already_attached);
    EXPECT_EQ(report->mode, Mode::generic);
    EXPECT_EQ(steering::attached("e0", pin_root()).value_or(steering::Attached{}).program_id,
              report->program_id);
    EXPECT_NE(report->program_id, first->program_id);
}

TEST_F(AttachAgainTest, AnotherNetdevTookTheName) {
    ASSERT_TRUE(attach("e0"));
    must_run({"ip", "link", "set", "e0", "name", "old"});
    must_run({"ip", "link", "set", "e1", "name", "e0"});
    const auto report = again();
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_EQ(program_on("old"), 0U);
}

TEST_F(AttachAgainTest, ARefusalKeepsWhatTheOperatorWants) {
    ASSERT_TRUE(attach("e0"));
    delete_veth();
    add_veth();
    const steering::Fd foreign = foreign_program();
    ASSERT_EQ(
        bpf_xdp_attach(static_cast<int>(if_nametoindex("e0")), foreign.get(), XDP_FLAGS_DRV_MODE, nullptr),
        0);
    EXPECT_FALSE(again());
    EXPECT_TRUE(steering::has_pins("e0", pin_root()));
    ASSERT_EQ(bpf_xdp_detach(static_cast<int>(if_nametoindex("e0")), XDP_FLAGS_DRV_MODE, nullptr), 0);
    // A bridge has no native XDP.
    delete_veth();
    must_run({"ip", "link", "add", "e0", "type", "bridge"});
    EXPECT_FALSE(again(Mode::native));
    EXPECT_TRUE(steering::has_pins("e0", pin_root()));
    must_run({"ip", "link", "del", "e0"});
    add_veth();
    const auto report = again(Mode::native);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(program_on("e0"), report->program_id);
}

// systemd's unit and the daemon may both see the netdev come.
TEST_F(AttachAgainTest, OneAttachesAtATime) {
    ASSERT_TRUE(attach("e1"));  // makes the root
    {
        steering::Fd lock(open(pin_root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ASSERT_EQ(flock(lock.get(), LOCK_EX), 0);
        auto waits = std::async(std::launch::async, [] { return attach("e0").has_value(); });
        EXPECT_EQ(waits.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
        EXPECT_EQ(program_on("e0"), 0U);
        lock = steering::Fd();
        EXPECT_TRUE(waits.get());
    }
    for (int i = 0; i < 10; ++i) {
        delete_veth();
        add_veth();
        auto one = std::async(std::launch::async, [] { return again(); });
        const auto other = attach("e0");
        const auto first = one.get();
        ASSERT_TRUE(first) << first.error().text();
        ASSERT_TRUE(other) << other.error().text();
        EXPECT_NE(first->already_attached, other->already_attached);
        EXPECT_EQ(first->program_id, other->program_id);
    }
}

TEST_F(AttachAgainTest, AnAltnameIsRefusedNamingTheNetdev) {
    must_run({"ip", "link", "property", "add", "dev", "e0", "altname", "uplink"});
    ASSERT_NE(if_nametoindex("uplink"), 0U) << "to the kernel it is a name";
    const auto report = attach("uplink");
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().text(), HasSubstr("port uplink"));
    EXPECT_THAT(report.error().text(), HasSubstr("use 'e0'"));
    EXPECT_EQ(program_on("e0"), 0U);
    EXPECT_FALSE(exists(pin_root() + "/uplink"));
    EXPECT_TRUE(attach("e0"));
}

}  // namespace
}  // namespace millrace::test
