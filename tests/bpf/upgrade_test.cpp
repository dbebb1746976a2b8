// SPDX-License-Identifier: BSD-3-Clause
// A port that another build has attached, or that holds what this version doesn't know. Another build is
// played by what one leaves: a state and maps that are not this build's. netns.upgrade has a real one.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "steering_bpf/port.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using steering::Fd;
using steering::Mode;
using steering::PortMaps;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t first_key = 0;

class UpgradeTest : public VethTest {
  protected:
    static Fd pinned(const std::string& name) { return Fd(bpf_obj_get(pin(name).c_str())); }
    static uint32_t map_id(const std::string& name) {
        bpf_map_info info{};
        uint32_t size = sizeof(info);
        EXPECT_EQ(bpf_obj_get_info_by_fd(pinned(name).get(), &info, &size), 0) << name;
        return info.id;
    }
    static uint32_t link_id() {
        bpf_link_info info{};
        uint32_t size = sizeof(info);
        EXPECT_EQ(bpf_obj_get_info_by_fd(pinned(MILLRACE_PIN_LINK).get(), &info, &size), 0);
        return info.id;
    }
    static millrace_port_state state() {
        millrace_port_state out{};
        EXPECT_EQ(bpf_map_lookup_elem(pinned(MILLRACE_MAP_STATE).get(), &first_key, &out), 0);
        return out;
    }
    static void set_state(const millrace_port_state& wanted) {
        ASSERT_EQ(bpf_map_update_elem(pinned(MILLRACE_MAP_STATE).get(), &first_key, &wanted, BPF_ANY), 0);
    }
    // The same maps, another program.
    static void play_another_program() {
        millrace_port_state other = state();
        other.tag[0] ^= 0xff;
        set_state(other);
    }
    // Other maps: one more of them, one of another size, and what this version had at first.
    static void play_another_abi(uint32_t restore = 0) {
        pin_array(MILLRACE_MAP_STATE, 8);
        const std::array<uint32_t, 2> old = {state().sees, restore};
        ASSERT_EQ(bpf_map_update_elem(pinned(MILLRACE_MAP_STATE).get(), &first_key, &old, BPF_ANY), 0);
        pin_array("keep_mac", 4);
    }
    static void pin_array(const std::string& name, uint32_t value_size, const char* called = nullptr) {
        const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, called == nullptr ? name.c_str() : called, 4,
                                    value_size, 1, nullptr));
        unlink(pin(name).c_str());
        ASSERT_EQ(bpf_obj_pin(map.get(), pin(name).c_str()), 0) << name;
    }
    static auto force() { return steering::attach("e0", {.pin_root = pin_root(), .force = true}); }
};

TEST_F(UpgradeTest, MapsOfTheSameAbiStayWithWhatIsInThem) {
    const auto first = attach("e0");
    ASSERT_TRUE(first) << first.error().text();
    auto daemon = PortMaps::open("e0", pin_root());
    ASSERT_TRUE(daemon) << daemon.error().text();
    ASSERT_TRUE(daemon->enable(true));
    const uint32_t link = link_id();
    const uint32_t xsks = map_id(MILLRACE_MAP_XSKS);
    play_another_program();
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->upgraded);
    EXPECT_TRUE(report->maps_kept);
    EXPECT_FALSE(report->already_attached);
    EXPECT_NE(report->program_id, first->program_id);
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_EQ(link_id(), link);
    EXPECT_EQ(map_id(MILLRACE_MAP_XSKS), xsks);
    const auto now = steering::attached("e0", pin_root());
    ASSERT_TRUE(now) << now.error().text();
    EXPECT_EQ(now->maps_id, daemon->attached().maps_id);
    EXPECT_EQ(daemon->config().value().flags & MILLRACE_FLAG_ENABLED, MILLRACE_FLAG_ENABLED);
    const auto again = attach("e0");
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->already_attached);
    EXPECT_FALSE(again->upgraded);
}

TEST_F(UpgradeTest, OtherMapsAreReplacedWhileTheLinkStays) {
    ASSERT_TRUE(attach("e0", Mode::generic));
    const uint32_t link = link_id();
    const uint32_t heartbeat = map_id(MILLRACE_MAP_HEARTBEAT);
    play_another_abi(MILLRACE_RESTORE_STAG);
    const auto open = PortMaps::open("e0", pin_root());
    ASSERT_FALSE(open);
    EXPECT_THAT(open.error().text(), HasSubstr("another build's"));
    EXPECT_THAT(steering::status(pin_root()).value().front().problem, HasSubstr("another build's"));
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->upgraded);
    EXPECT_FALSE(report->maps_kept);
    EXPECT_EQ(report->mode, Mode::generic);
    EXPECT_THAT(report->removed, ElementsAre("keep_mac"));
    EXPECT_FALSE(exists(pin("keep_mac")));
    EXPECT_EQ(link_id(), link);
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_NE(map_id(MILLRACE_MAP_HEARTBEAT), heartbeat);
    EXPECT_NE(state().restore & MILLRACE_RESTORE_STAG, 0U) << "a detach would forget it";
    EXPECT_TRUE(PortMaps::open("e0", pin_root()));
    EXPECT_EQ(steering::status(pin_root()).value().front().problem, "");
    EXPECT_TRUE(attach("e0")->already_attached);
}

// The daemon of the other build must not take it back.
TEST_F(UpgradeTest, TheDaemonLeavesAnotherBuildsClassifierAlone) {
    ASSERT_TRUE(attach("e0"));
    play_another_abi();
    const uint32_t program = program_on("e0");
    const auto again = steering::attach_again("e0", {.pin_root = pin_root()});
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().text(), HasSubstr("another build's"));
    EXPECT_EQ(program_on("e0"), program);
}

// A port with no program for an instant loses nothing either, but a zero-copy driver resets its rings.
TEST_F(UpgradeTest, TheNetdevNeverRunsNone) {
    ASSERT_TRUE(attach("e0"));
    std::atomic<bool> over = false;
    unsigned none = 0;
    unsigned looked = 0;
    std::thread watch([&] {
        const int ifindex = static_cast<int>(if_nametoindex("e0"));
        while (!over) {
            uint32_t id = 0;
            none += bpf_xdp_query_id(ifindex, 0, &id) != 0 || id == 0 ? 1 : 0;
            ++looked;
        }
    });
    for (int i = 0; i < 3; ++i) {
        i % 2 == 0 ? play_another_abi() : play_another_program();
        EXPECT_TRUE(attach("e0")->upgraded);
    }
    over = true;
    watch.join();
    EXPECT_EQ(none, 0U);
    EXPECT_GT(looked, 100U);
}

TEST_F(UpgradeTest, UnknownPinsAreNamedAndRemovedByForce) {
    ASSERT_TRUE(attach("e0"));
    const Fd program = foreign_program();
    ASSERT_EQ(bpf_obj_pin(program.get(), pin("stray").c_str()), 0);
    pin_array("aside", 4, "somebodys");
    ASSERT_EQ(mkdir(pin("sub").c_str(), 0700), 0);
    const uint32_t before = program_on("e0");
    const auto refused = attach("e0");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().text(),
              "port e0: " + pin_root() +
                  "/e0 holds what this version doesn't know: aside, stray, sub; 'millrace-steer attach "
                  "--force e0' removes it");
    EXPECT_EQ(program_on("e0"), before);
    const auto report = force();
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_THAT(report->removed, ElementsAre("aside", "stray", "sub"));
    EXPECT_FALSE(exists(pin("stray")));
    EXPECT_EQ(program_on("e0"), before);
}

// By an attach of another version that was killed, or after a netdev that went: nobody says whose they are.
TEST_F(UpgradeTest, MapsOfAnotherVersionWithoutALinkAreUnknown) {
    ASSERT_TRUE(attach("e0"));
    play_another_abi();
    delete_veth();
    add_veth();
    for (const bool killed : {false, true}) {
        if (killed) {
            ASSERT_TRUE(steering::detach("e0", pin_root()));
            ASSERT_EQ(mkdir(pin("").c_str(), 0700), 0);
            play_another_abi();
        }
        const auto refused = attach("e0");
        ASSERT_FALSE(refused);
        EXPECT_THAT(refused.error().text(), HasSubstr("doesn't know: keep_mac;"));
        EXPECT_EQ(program_on("e0"), 0U);
        const auto report = force();
        ASSERT_TRUE(report) << report.error().text();
        EXPECT_THAT(report->removed, ElementsAre("keep_mac"));
        EXPECT_EQ(program_on("e0"), report->program_id);
    }
}

TEST_F(UpgradeTest, DetachTakesAwayWhateverIsThere) {
    ASSERT_TRUE(attach("e0"));
    play_another_abi();
    ASSERT_EQ(mkdir(pin("sub").c_str(), 0700), 0);
    ASSERT_EQ(bpf_obj_pin(foreign_program().get(), pin("sub/stray").c_str()), 0);
    const auto gone = steering::detach("e0", pin_root());
    ASSERT_TRUE(gone) << gone.error().text();
    EXPECT_THAT(*gone, ElementsAre("sub", "keep_mac"));
    EXPECT_EQ(program_on("e0"), 0U);
    EXPECT_FALSE(steering::has_pins("e0", pin_root()));
}

// A map of this type has the same number as an XDP link's type.
TEST_F(UpgradeTest, APinOfALinkThatIsNone) {
    ASSERT_TRUE(attach("e0"));
    const auto play = [] {
        const Fd map(bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "counters", 4, 8, 1, nullptr));
        ASSERT_EQ(unlink(pin(MILLRACE_PIN_LINK).c_str()), 0);
        ASSERT_EQ(bpf_obj_pin(map.get(), pin(MILLRACE_PIN_LINK).c_str()), 0);
        for (int tries = 0; tries < 500 && program_on("e0") != 0; ++tries) {
            usleep(10'000);  // the kernel drops a link some time after its last pin
        }
    };
    play();
    const auto refused = attach("e0");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text(), HasSubstr("not an XDP link"));
    ASSERT_TRUE(force());
    EXPECT_NE(program_on("e0"), 0U);
    play();
    EXPECT_TRUE(steering::detach("e0", pin_root()));
    EXPECT_FALSE(steering::has_pins("e0", pin_root()));
}

TEST_F(UpgradeTest, KilledAtAnyMomentThePortRunsAndTheNextAttachEndsIt) {
    ASSERT_TRUE(attach("e0"));
    play_another_abi();
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(attach("e0"));
    const std::chrono::duration<double, std::micro> takes = std::chrono::steady_clock::now() - begin;
    constexpr unsigned moments = 10;
    unsigned half_way = 0;
    for (unsigned moment = 1; moment <= moments; ++moment) {
        moment % 2 == 0 ? play_another_abi() : play_another_program();
        const uint32_t before = program_on("e0");
        const pid_t child = fork();
        if (child == 0) {
            _exit(attach("e0") ? 0 : 1);
        }
        ASSERT_GT(child, 0);
        // The switch is in the last part.
        usleep(static_cast<useconds_t>(takes.count() * (0.7 + 0.05 * moment)));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        half_way += WIFSIGNALED(status) && program_on("e0") != before ? 1 : 0;
        ASSERT_NE(program_on("e0"), 0U);
        const auto report = attach("e0");
        ASSERT_TRUE(report) << report.error().text();
        EXPECT_TRUE(PortMaps::open("e0", pin_root()));
        EXPECT_EQ(program_on("e0"), report->program_id);
    }
    RecordProperty("killed_after_the_switch", static_cast<int>(half_way));
    ASSERT_TRUE(steering::detach("e0", pin_root()));
    EXPECT_EQ(program_on("e0"), 0U);
}

// Killed between the switch and the names of its maps.
TEST_F(UpgradeTest, MapsThatNoProgramUsesAreNotDriven) {
    ASSERT_TRUE(attach("e0"));
    const Fd link = pinned(MILLRACE_PIN_LINK);
    ASSERT_EQ(bpf_link_update(link.get(), foreign_program().get(), nullptr), -EINVAL)
        << "this one can't take fragments";
    millrace_port_state other = state();
    other.program += 1'000'000;
    set_state(other);
    EXPECT_FALSE(PortMaps::open("e0", pin_root()));
    EXPECT_FALSE(steering::attached("e0", pin_root()));
    const uint32_t heartbeat = map_id(MILLRACE_MAP_HEARTBEAT);
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_FALSE(report->maps_kept);
    EXPECT_NE(map_id(MILLRACE_MAP_HEARTBEAT), heartbeat);
    EXPECT_TRUE(PortMaps::open("e0", pin_root()));
}

TEST_F(UpgradeTest, ThreeAtOnce) {
    std::vector<Output> said(3);
    const auto three = [&] {
        std::vector<std::thread> all;
        for (Output& one : said) {
            all.emplace_back([&one] {
                one = run({MILLRACE_STEER, "attach", "e0", "--pin-root", pin_root()});
            });
        }
        for (std::thread& one : all) {
            one.join();
        }
        unsigned changed = 0;
        for (const Output& one : said) {
            EXPECT_EQ(one.code, 0) << one.err;
            changed += one.out.starts_with("e0: already attached") ? 0 : 1;
            EXPECT_THAT(one.out, HasSubstr(fmt::format("(program {})", program_on("e0"))));
        }
        EXPECT_EQ(changed, 1U);
        EXPECT_TRUE(PortMaps::open("e0", pin_root()));
    };
    three();
    play_another_abi();
    three();
    EXPECT_EQ(run({MILLRACE_STEER, "detach", "e0", "--pin-root", pin_root()}).code, 0);
}

}  // namespace
}  // namespace millrace::test
