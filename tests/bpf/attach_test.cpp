// SPDX-License-Identifier: BSD-3-Clause
// attach, detach and status on real netdevs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "steering_bpf/port.hpp"
#include "steering_bpf/refusal.hpp"
#include "tests/support/frame.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using steering::detach;
using steering::Mode;
using steering::PortMaps;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* pinned_names[] = {MILLRACE_PIN_LINK,      MILLRACE_MAP_XSKS,     MILLRACE_MAP_CONFIG,
                                        MILLRACE_MAP_HEARTBEAT, MILLRACE_MAP_COUNTERS, MILLRACE_MAP_LOCAL4,
                                        MILLRACE_MAP_LOCAL6,    MILLRACE_MAP_KEEP4,    MILLRACE_MAP_KEEP6,
                                        MILLRACE_MAP_KEEP_L4};

using AttachTest = VethTest;

TEST_F(AttachTest, NativeIsTheFirstChoice) {
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mode, Mode::native);
    EXPECT_FALSE(report->already_attached);
    EXPECT_NE(report->program_id, 0U);
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_EQ(program_on("e1"), 0U);
    for (const char* name : pinned_names) {
        EXPECT_TRUE(exists(pin(name))) << name;
    }
}

TEST_F(AttachTest, GenericWhenAskedFor) {
    const auto report = attach("e0", Mode::generic);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mode, Mode::generic);
    EXPECT_EQ(program_on("e0"), report->program_id);
}

// A bridge has no XDP of its own.
TEST_F(AttachTest, GenericWhereTheDriverHasNoNative) {
    must_run({"ip", "link", "add", "br0", "type", "bridge"});
    const auto refused = attach("br0", Mode::native);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EOPNOTSUPP);
    EXPECT_FALSE(exists(pin_root() + "/br0"));
    const auto report = attach("br0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mode, Mode::generic);
    EXPECT_TRUE(detach("br0", pin_root()));
    must_run({"ip", "link", "del", "br0"});
}

TEST_F(AttachTest, TwiceIsOnce) {
    const auto first = attach("e0");
    ASSERT_TRUE(first) << first.error().text();
    for (const Mode mode : {Mode::automatic, Mode::native}) {
        const auto again = attach("e0", mode);
        ASSERT_TRUE(again) << again.error().text();
        EXPECT_TRUE(again->already_attached);
        EXPECT_EQ(again->program_id, first->program_id);
        EXPECT_EQ(again->mode, Mode::native);
    }
    const auto other_mode = attach("e0", Mode::generic);
    ASSERT_FALSE(other_mode);
    EXPECT_THAT(other_mode.error().text(), HasSubstr("native"));
    EXPECT_EQ(program_on("e0"), first->program_id);
}

TEST_F(AttachTest, PortsAreIndependent) {
    ASSERT_TRUE(attach("e0"));
    ASSERT_TRUE(attach("e1"));
    EXPECT_NE(program_on("e0"), program_on("e1"));
    ASSERT_TRUE(detach("e0", pin_root()));
    EXPECT_NE(program_on("e1"), 0U);
}

TEST_F(AttachTest, NameWithADot) {
    must_run({"ip", "link", "set", "e0", "name", "e0.100"});
    const auto report = attach("e0.100");
    ASSERT_TRUE(report) << report.error().text();
    const auto ports = steering::status(pin_root());
    ASSERT_TRUE(ports);
    ASSERT_EQ(ports->size(), 1U);
    EXPECT_EQ(ports->front().port, "e0.100");
    EXPECT_EQ(ports->front().problem, "");
    EXPECT_TRUE(PortMaps::open("e0.100", pin_root()));
    ASSERT_TRUE(detach("e0.100", pin_root()));
    must_run({"ip", "link", "set", "e0.100", "name", "e0"});
}

TEST_F(AttachTest, NoSuchNetdev) {
    const auto report = attach("e9");
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().text(), "port e9: no such netdev; 'ip link' lists them");
}

TEST_F(AttachTest, NamesThatLeaveTheRootAreRefused) {
    for (const char* name : {"", ".", "..", "../e0", "e0/link", "a:b", "a b", "sixteen-letters-"}) {
        EXPECT_FALSE(attach(name)) << name;
        EXPECT_FALSE(detach(name, pin_root())) << name;
        EXPECT_FALSE(PortMaps::open(name, pin_root())) << name;
    }
}

TEST_F(AttachTest, PinRootThatIsNoBpffs) {
    const auto report = steering::attach("e0", {.pin_root = "/tmp/mrbpf-pins/deep", .mode = Mode::automatic});
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().text(), HasSubstr("mount -t bpf bpf /tmp/mrbpf-pins/deep"));
    EXPECT_FALSE(exists("/tmp/mrbpf-pins"));
    EXPECT_EQ(program_on("e0"), 0U);
}

TEST_F(AttachTest, ForeignProgramIsNamedAndLeftAlone) {
    for (const auto& [flag, mode] :
         {std::pair{XDP_FLAGS_DRV_MODE, "native"}, {XDP_FLAGS_SKB_MODE, "generic"}}) {
        const auto foreign = foreign_program();
        const int ifindex = static_cast<int>(if_nametoindex("e0"));
        ASSERT_EQ(bpf_xdp_attach(ifindex, foreign.get(), static_cast<uint32_t>(flag), nullptr), 0);
        const uint32_t id = program_on("e0");
        const auto report = attach("e0");
        ASSERT_FALSE(report);
        for (const std::string& word :
             {std::string("somebody_elses"), fmt::format("id {}", id), std::string(mode)}) {
            EXPECT_THAT(report.error().text(), HasSubstr(word));
        }
        EXPECT_EQ(program_on("e0"), id);
        EXPECT_FALSE(exists(pin_root() + "/e0"));
        ASSERT_EQ(bpf_xdp_detach(ifindex, static_cast<uint32_t>(flag), nullptr), 0);
    }
}

// veth refuses native XDP with fewer receive queues than its peer has transmit queues. Anything but "not
// supported" is the operator's to see, and nothing is left behind.
TEST_F(AttachTest, RefusedByTheDriverIsUndone) {
    delete_veth();
    must_run({"ip", "link", "add", "e0", "numtxqueues", "1", "numrxqueues", "1", "type", "veth",  //
              "peer", "name", "e1", "numtxqueues", "4", "numrxqueues", "4"});
    const auto report = attach("e0");
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ENOSPC);
    EXPECT_THAT(report.error().text(), HasSubstr("port e0: cannot attach the classifier in native mode"));
    EXPECT_THAT(report.error().text(),
                AllOf(HasSubstr("(the kernel says: "), HasSubstr("rx queues"), HasSubstr("ethtool -L e0")));
    EXPECT_EQ(program_on("e0"), 0U);
    EXPECT_FALSE(exists(pin_root() + "/e0"));
}

// Drivers that refuse a jumbo MTU (igb, with EINVAL) are none of veth's kind: it takes one.
TEST(Refusal, NamesTheMtuOnlyWhereItMayBeTheCause) {
    const auto jumbo = steering::native_remedy("e0", 9100, EINVAL);
    EXPECT_THAT(jumbo, AllOf(HasSubstr("its MTU of 9100"), HasSubstr("ip link set e0 mtu 1500"),
                             HasSubstr("--mode generic e0")));
    for (const auto& other :
         {steering::native_remedy("e0", 1500, EINVAL), steering::native_remedy("e0", 9100, ENOSPC)}) {
        EXPECT_THAT(other, AllOf(Not(HasSubstr("MTU")), HasSubstr("--mode generic e0")));
    }
}

TEST_F(AttachTest, StalePinsOfADeletedNetdevAreReplaced) {
    ASSERT_TRUE(attach("e0"));
    delete_veth();
    const auto gone = steering::status(pin_root());
    ASSERT_TRUE(gone);
    ASSERT_EQ(gone->size(), 1U);
    EXPECT_EQ(gone->front().problem, "its netdev is gone, or it was detached");
    const auto opened = PortMaps::open("e0", pin_root());
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().text(), HasSubstr("run 'millrace-steer attach e0'"));

    add_veth();
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_FALSE(report->already_attached);
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_TRUE(PortMaps::open("e0", pin_root()));
}

// An attach that was killed before it pinned its link.
TEST_F(AttachTest, PinsWithoutLinkAreReplaced) {
    ASSERT_TRUE(attach("e0"));
    ASSERT_TRUE(detach("e0", pin_root()));
    ASSERT_EQ(mkdir((pin_root() + "/e0").c_str(), 0700), 0);
    const steering::Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "left", 4, 4, 1, nullptr));
    ASSERT_EQ(bpf_obj_pin(map.get(), pin(MILLRACE_MAP_KEEP4).c_str()), 0);
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(PortMaps::open("e0", pin_root()));
}

TEST_F(AttachTest, LinkOfARenamedNetdevIsNotTakenAway) {
    const auto first = attach("e0");
    ASSERT_TRUE(first);
    must_run({"ip", "link", "set", "e0", "name", "old"});
    must_run({"ip", "link", "set", "e1", "name", "e0"});
    const auto report = attach("e0");
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().text(), HasSubstr("another netdev"));
    EXPECT_FALSE(PortMaps::open("e0", pin_root()));
    EXPECT_EQ(program_on("old"), first->program_id);
    EXPECT_EQ(program_on("e0"), 0U);
}

// The same name and the same index in another namespace: the program tells them apart.
TEST_F(AttachTest, LinkOfAnotherNamespaceIsNotOurs) {
    ASSERT_TRUE(attach("lo"));
    const steering::Fd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    const auto opened = PortMaps::open("lo", pin_root());
    const auto report = attach("lo");
    const uint32_t program = program_on("lo");
    ASSERT_EQ(setns(home.get(), CLONE_NEWNET), 0);
    EXPECT_FALSE(opened);
    ASSERT_FALSE(report);
    EXPECT_THAT(report.error().text(), HasSubstr("another"));
    EXPECT_EQ(program, 0U);
    EXPECT_NE(program_on("lo"), 0U);
    EXPECT_TRUE(detach("lo", pin_root()));
}

TEST_F(AttachTest, DetachTakesEverythingAway) {
    ASSERT_TRUE(attach("e0"));
    const auto done = detach("e0", pin_root());
    ASSERT_TRUE(done) << done.error().text();
    EXPECT_EQ(program_on("e0"), 0U);
    EXPECT_FALSE(exists(pin_root() + "/e0"));
    const auto again = detach("e0", pin_root());
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().text(), HasSubstr("port e0: no classifier attached"));
    ASSERT_TRUE(attach("e0"));  // at once: nothing lingers
}

TEST_F(AttachTest, DetachWorksAfterTheNetdev) {
    ASSERT_TRUE(attach("e0"));
    delete_veth();
    const auto done = detach("e0", pin_root());
    EXPECT_TRUE(done) << done.error().text();
    EXPECT_FALSE(exists(pin_root() + "/e0"));
}

// `ip link set xdp off` and libxdp's detach must not get it off: the port's other users would lose it.
TEST_F(AttachTest, OthersCannotDetachIt) {
    const auto report = attach("e0");
    ASSERT_TRUE(report);
    EXPECT_NE(bpf_xdp_detach(static_cast<int>(if_nametoindex("e0")), XDP_FLAGS_DRV_MODE, nullptr), 0);
    EXPECT_EQ(program_on("e0"), report->program_id);
}

// Frames that really come in, in both modes: transit to our MAC, longer than anything the namespace's own
// neighbour discovery sends.
TEST_F(AttachTest, FramesOfTheWireAreCounted) {
    const Bytes frame = Frame().ethernet().ipv4().udp().payload(1000).bytes();
    for (const Mode mode : {Mode::native, Mode::generic}) {
        ASSERT_TRUE(attach("e0", mode));
        const auto maps = PortMaps::open("e0", pin_root());
        ASSERT_TRUE(maps);
        const steering::Fd wire(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = static_cast<int>(if_nametoindex("e1"));
        ASSERT_EQ(
            sendto(wire.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)),
            static_cast<ssize_t>(frame.size()));
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        uint64_t bytes = 0;
        while (bytes < frame.size() && std::chrono::steady_clock::now() < deadline) {
            const auto counters = maps->counters();
            ASSERT_TRUE(counters);
            bytes = (*counters)[MILLRACE_STEER_DISABLED].bytes;
            std::this_thread::yield();
        }
        EXPECT_GE(bytes, frame.size()) << name(mode);
        ASSERT_TRUE(detach("e0", pin_root()));
    }
}

TEST_F(AttachTest, Status) {
    const auto none = steering::status(pin_root() + "/not-there");
    ASSERT_TRUE(none);
    EXPECT_TRUE(none->empty());

    const auto native = attach("e0");
    ASSERT_TRUE(native);
    ASSERT_TRUE(attach("e1", Mode::generic));
    auto maps = PortMaps::open("e1", pin_root());
    ASSERT_TRUE(maps);
    EXPECT_EQ(maps->attached().mode, Mode::generic);
    ASSERT_TRUE(maps->configure({.heartbeat_timeout_ns = 200'000'000,
                                 .keep_protocol = {},
                                 .flags = MILLRACE_FLAG_ENABLED,
                                 .max_frame = 1514,
                                 .mac = {},
                                 .reserved = 0}));
    maps->beat(1);  // just after the machine started

    const auto ports = steering::status(pin_root());
    ASSERT_TRUE(ports) << ports.error().text();
    ASSERT_EQ(ports->size(), 2U);
    const auto& e0 = (*ports)[0];
    EXPECT_EQ(e0.port, "e0");
    EXPECT_EQ(e0.problem, "");
    EXPECT_EQ(raw(e0.ifindex), if_nametoindex("e0"));
    EXPECT_EQ(e0.mode, Mode::native);
    EXPECT_EQ(e0.program_id, native->program_id);
    EXPECT_EQ(e0.flags, 0U);
    EXPECT_FALSE(e0.heartbeat_age_ms);
    const auto& e1 = (*ports)[1];
    EXPECT_EQ(e1.port, "e1");
    EXPECT_EQ(e1.mode, Mode::generic);
    EXPECT_EQ(e1.flags, MILLRACE_FLAG_ENABLED);
    EXPECT_EQ(e1.heartbeat_timeout_ms, 200U);
    ASSERT_TRUE(e1.heartbeat_age_ms);
    EXPECT_GT(*e1.heartbeat_age_ms, 200U);
}

}  // namespace
}  // namespace millrace::test
