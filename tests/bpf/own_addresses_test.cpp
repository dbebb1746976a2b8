// SPDX-License-Identifier: BSD-3-Clause
// The table of own addresses at any size, and the daemon's steering where it has no room, or where another
// map refuses what it should say: nothing that the kernel would keep is redirected.
#include <bpf/bpf.h>
#include <gmock/gmock.h>

#include "classifier_fixture.hpp"
#include "dataplane/daemon/steering.hpp"
#include "steering_bpf/reason_names.hpp"
#include "tests/support/test_run.hpp"

namespace millrace::test {
namespace {

using dataplane::Steering;
using steering::LocalTable;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Host n of a family, away from the addresses of frames; in no order that a hash would know.
IpAddress numbered(Family family, uint32_t n) {
    const uint32_t mixed = n * 2654435761U;
    uint8_t bytes[16] = {};
    if (family == Family::ipv4) {
        bytes[0] = 100;
        bytes[1] = static_cast<uint8_t>(mixed >> 16 & 0x3f) | 64;
        bytes[2] = static_cast<uint8_t>(mixed >> 8);
        bytes[3] = static_cast<uint8_t>(mixed);
    } else {
        bytes[0] = 0x20;
        bytes[1] = 0x02;
        for (unsigned i = 0; i < 4; ++i) {
            bytes[12 + i] = static_cast<uint8_t>(mixed >> (24 - 8 * i));
        }
    }
    return IpAddress::from_bytes(family, bytes);
}
// To an address, and from it.
Bytes to(const IpAddress& a) {
    return a.family == Family::ipv4 ? Frame().ethernet().ipv4({.destination = a}).udp().bytes()
                                    : Frame().ethernet().ipv6({.destination = a}).udp().bytes();
}
Bytes from(const IpAddress& a) {
    return Frame().ethernet().ipv4({.source = a}).udp().bytes();
}

class OwnAddressesTest : public ClassifierTest, public testing::WithParamInterface<Family> {};

TEST_P(OwnAddressesTest, HundredThousand) {
    constexpr uint32_t many = 100'000;
    for (uint32_t i = 0; i < many; ++i) {
        add_local(numbered(GetParam(), i));
    }
    EXPECT_EQ(own(GetParam()).size(), many);
    for (uint32_t i = 0; i < many; i += 997) {
        expect(MILLRACE_STEER_LOCAL, to(numbered(GetParam(), i)));
    }
    for (uint32_t i = many; i < many + 50; ++i) {
        expect(MILLRACE_STEER_REDIRECT, to(numbered(GetParam(), i)));
    }
    if (GetParam() == Family::ipv4) {
        expect(MILLRACE_STEER_MARTIAN, from(numbered(GetParam(), many - 1)));
        expect(MILLRACE_STEER_REDIRECT, from(numbered(GetParam(), many)));
    }
    for (uint32_t i = 0; i < many; i += 2) {
        ASSERT_TRUE(own(GetParam()).remove(numbered(GetParam(), i)));
    }
    EXPECT_EQ(own(GetParam()).size(), many / 2);
    expect(MILLRACE_STEER_REDIRECT, to(numbered(GetParam(), 0)));
    expect(MILLRACE_STEER_LOCAL, to(numbered(GetParam(), 1)));
}

TEST_P(OwnAddressesTest, NoTableYet) {
    ASSERT_TRUE(steering::detach("lo", pin_root()));
    const auto report = steering::attach("lo", {.pin_root = pin_root(), .mode = steering::Mode::generic});
    ASSERT_TRUE(report);
    const steering::Fd program(bpf_prog_get_fd_by_id(report->program_id));
    auto port = steering::PortMaps::open("lo", pin_root());
    ASSERT_TRUE(port) << port.error().text();
    ASSERT_TRUE(port->configure(plain_config()));
    port->beat(monotonic_ns());
    const Bytes frame = to(numbered(GetParam(), 1));
    const TestRun run = test_run(program.get(), frame);
    ASSERT_EQ(run.error, 0);
    EXPECT_EQ(run.action, static_cast<uint32_t>(XDP_PASS));
    EXPECT_EQ(port->counters().value()[MILLRACE_STEER_DISABLED].packets, 1U);
}

INSTANTIATE_TEST_SUITE_P(Families, OwnAddressesTest, testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& info) { return info.param == Family::ipv4 ? "ipv4" : "ipv6"; });

// The daemon's part, over the classifier of the fixture.
class SteeringTest : public ClassifierTest {
  protected:
    void open(uint32_t most_own = MILLRACE_MAX_LOCAL) {
        close_maps();
        auto opened = Steering::open(config(), most_own);
        ASSERT_TRUE(opened) << opened.error().text();
        steering_.emplace(std::move(*opened));
        steering_->set_mac(port_, router_mac);
        steering_->set_usable(port_, true);
        steering_->beat(port_, monotonic_ns());
        ASSERT_TRUE(steering_->enable(true));
    }
    void TearDown() override {
        steering_.reset();
        ClassifierTest::TearDown();
        if (!IsSkipped()) {
            EXPECT_TRUE(steering::detach("lo", pin_root()));
        }
    }
    static Config config() {
        Config c;
        c.ports.push_back({.name = "lo", .vlan_tags = VlanTags::none});
        c.steering.pin_root = pin_root();
        c.steering.heartbeat_timeout_ms = 10'000;
        return c;
    }
    // As the kernel's refusal of any write: nothing can undo it.
    static void freeze(const char* map) {
        const steering::Fd fd(bpf_obj_get((pin_root() + "/lo/" + map).c_str()));
        ASSERT_TRUE(fd);
        ASSERT_EQ(bpf_map_freeze(fd.get()), 0) << "errno " << errno;
    }
    // Counters are read through the daemon's own maps, which are open.
    void verdict(millrace_steer_reason reason, const Bytes& frame) {
        const uint64_t before = steering_->counters(port_).value()[reason].packets;
        ASSERT_EQ(test_run(program(), frame).error, 0);
        EXPECT_EQ(steering_->counters(port_).value()[reason].packets, before + 1)
            << "not " << steering::reason_names[reason];
    }
    [[nodiscard]] std::vector<std::string> rows() const {
        std::vector<std::string> all;
        for (const Keep& k : steering_->keeps()) {
            all.push_back(fmt::format("{} {} {}: {}", name(k.cause), k.port, k.what(), k.text));
        }
        return all;
    }
    Steering& steering() { return *steering_; }

    const Bytes four_ = to(address("203.0.113.1"));
    const Bytes six_ = to(address("2001:db8:2::1"));

  private:
    static constexpr PortId port_{0};
    std::optional<Steering> steering_;
};

TEST_F(SteeringTest, MoreOwnAddressesThanFitKeepTheFamilyUntilTheyFit) {
    constexpr uint32_t most = 3000;  // between two sizes of the table
    open(most);
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        for (uint32_t i = 0; i < most; ++i) {
            steering().set_local(numbered(family, i), true);
        }
    }
    EXPECT_THAT(rows(), IsEmpty());
    verdict(MILLRACE_STEER_REDIRECT, four_);
    verdict(MILLRACE_STEER_LOCAL, to(numbered(Family::ipv4, most - 1)));

    for (uint32_t i = most; i < most + 3; ++i) {
        steering().set_local(numbered(Family::ipv4, i), true);
        EXPECT_THAT(rows(), ElementsAre("limit  IPv4: the router has more than 3000 IPv4 addresses"));
    }
    verdict(MILLRACE_STEER_KEEP_FAMILY, four_);
    verdict(MILLRACE_STEER_KEEP_FAMILY, from(numbered(Family::ipv4, most)));
    verdict(MILLRACE_STEER_REDIRECT, six_);
    steering().poll();
    verdict(MILLRACE_STEER_KEEP_FAMILY, four_);

    steering().set_local(numbered(Family::ipv4, most), false);  // one that had no room
    steering().set_local(numbered(Family::ipv4, 0), false);
    steering().poll();
    verdict(MILLRACE_STEER_KEEP_FAMILY, four_);  // one is still missing
    steering().set_local(numbered(Family::ipv4, 1), false);
    steering().poll();
    EXPECT_THAT(rows(), IsEmpty());
    verdict(MILLRACE_STEER_REDIRECT, four_);
    verdict(MILLRACE_STEER_LOCAL, to(numbered(Family::ipv4, most + 2)));
    verdict(MILLRACE_STEER_MARTIAN, from(numbered(Family::ipv4, most + 1)));
    verdict(MILLRACE_STEER_REDIRECT, to(numbered(Family::ipv4, most)));
}

TEST_F(SteeringTest, ATrieThatRefusesAPrefixKeepsItsFamily) {
    open();
    freeze(MILLRACE_MAP_KEEP4);
    const Keep keep{.cause = KeepCause::rule, .prefix = Prefix::parse("203.0.113.0/24"), .text = "a rule"};
    steering().set_keeps(std::span(&keep, 1));
    ASSERT_THAT(rows(), ElementsAre("rule  203.0.113.0/24: a rule", HasSubstr("limit lo IPv4: keep")));
    verdict(MILLRACE_STEER_KEEP_FAMILY, four_);
    verdict(MILLRACE_STEER_KEEP_FAMILY, to(address("198.51.100.7")));
    verdict(MILLRACE_STEER_REDIRECT, six_);
    steering().set_keeps({});  // nothing is to be written any more
    EXPECT_THAT(rows(), IsEmpty());
    verdict(MILLRACE_STEER_REDIRECT, four_);
}

TEST_F(SteeringTest, ATableOfAddressesThatCannotBePutThereKeepsItsFamily) {
    open();
    for (uint32_t i = 0; i < MILLRACE_FIRST_LOCAL; ++i) {
        steering().set_local(numbered(Family::ipv6, i), true);
    }
    freeze(MILLRACE_MAP_LOCAL6);
    const IpAddress one_more = numbered(Family::ipv6, MILLRACE_FIRST_LOCAL);
    steering().set_local(one_more, true);
    ASSERT_THAT(rows(), ElementsAre(HasSubstr("limit lo IPv6: cannot set the table")));
    verdict(MILLRACE_STEER_KEEP_FAMILY, to(one_more));
    verdict(MILLRACE_STEER_REDIRECT, four_);
    steering().poll();
    verdict(MILLRACE_STEER_KEEP_FAMILY, six_);
}

TEST_F(SteeringTest, APortWhoseConfigurationCannotBeWrittenIsTheKernels) {
    open();
    verdict(MILLRACE_STEER_REDIRECT, four_);
    freeze(MILLRACE_MAP_CONFIG);
    steering().set_mac(PortId{0}, host_mac);
    ASSERT_THAT(rows(), ElementsAre(HasSubstr("limit lo all: steer_config: cannot write")));
    steering().beat(PortId{0}, monotonic_ns());
    verdict(MILLRACE_STEER_STALE, four_);
    verdict(MILLRACE_STEER_STALE, six_);
    steering().poll();
    steering().beat(PortId{0}, monotonic_ns());
    verdict(MILLRACE_STEER_STALE, four_);
}

}  // namespace
}  // namespace millrace::test
