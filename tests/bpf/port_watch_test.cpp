// SPDX-License-Identifier: BSD-3-Clause
// What the daemon notices of its ports' devices, and that it never waits for it.
#include "dataplane/daemon/port_watch.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "dataplane/daemon/steering.hpp"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using dataplane::PortWatch;
using dataplane::Steering;
using steering::Mode;

using testing::HasSubstr;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Holds RTNL: a request about lo's offloads whose second half the kernel can't read until this one's end.
class RtnlHeld {
  public:
    RtnlHeld() : fault_(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC))) {
        uffdio_api api{};
        api.api = UFFD_API;
        page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        memory_ = static_cast<char*>(
            mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        uffdio_register second{};
        second.range = range();
        second.mode = UFFDIO_REGISTER_MODE_MISSING;
        if (!fault_ || ioctl(fault_.get(), UFFDIO_API, &api) != 0 ||
            ioctl(fault_.get(), UFFDIO_REGISTER, &second) != 0) {
            return;
        }
        char* request = memory_ + page_ - sizeof(uint32_t);
        const uint32_t command = ETHTOOL_GFEATURES;
        std::memcpy(request, &command, sizeof(command));
        holder_ = std::thread([request] {
            const steering::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
            ifreq ask{};
            std::strcpy(ask.ifr_name, "lo");
            ask.ifr_data = request;
            ioctl(socket.get(), SIOCETHTOOL, &ask);
        });
        pollfd fault{.fd = fault_.get(), .events = POLLIN, .revents = 0};
        held_ = poll(&fault, 1, 5000) == 1;
        // Whoever waits for RTNL while this lives would wait for ever.
        end_ = std::thread([this] {
            std::this_thread::sleep_for(900ms);
            let_go();
        });
    }
    ~RtnlHeld() {
        if (holder_.joinable()) {
            let_go();
            holder_.join();
            end_.join();
        }
        munmap(memory_, 2 * page_);
    }
    RtnlHeld(const RtnlHeld&) = delete;
    RtnlHeld& operator=(const RtnlHeld&) = delete;
    [[nodiscard]] bool held() const { return held_; }

  private:
    void let_go() const {
        uffdio_zeropage zero{};
        zero.range = range();
        ioctl(fault_.get(), UFFDIO_ZEROPAGE, &zero);
    }
    [[nodiscard]] uffdio_range range() const {
        return {.start = reinterpret_cast<uint64_t>(memory_) + page_, .len = page_};
    }
    steering::Fd fault_;
    size_t page_ = 0;
    char* memory_ = nullptr;
    bool held_ = false;
    std::thread holder_;
    std::thread end_;
};

class PortWatchTest : public VethTest {
  protected:
    static Config config(VlanTags tags) {
        Config c;
        c.ports.push_back({.name = "e0", .vlan_tags = tags});
        c.steering.pin_root = pin_root();
        return c;
    }
    // Ends when the only row says so.
    static bool said(PortWatch& watch, const char* text, Clock::duration longest) {
        const auto end = Clock::now() + longest;
        do {
            const auto found = watch.found();
            if (text == nullptr ? found[0].keeps.empty()
                                : found[0].keeps.size() == 1 && found[0].keeps[0].text == text) {
                return true;
            }
            std::this_thread::sleep_for(5ms);
        } while (Clock::now() < end);
        return false;
    }
};

// Without vlan_tags = "none", what a driver does with tags is asked for under RTNL where it can't be seen.
TEST_F(PortWatchTest, TheControlThreadDoesNotWaitForRtnl) {
    ASSERT_TRUE(attach("e0", Mode::generic));
    auto opened = Steering::open(config(VlanTags::automatic));
    ASSERT_TRUE(opened) << opened.error().text();
    ASSERT_EQ(opened->keeps().size(), 1U);
    EXPECT_THAT(opened->keeps()[0].text, HasSubstr("VLAN tags can't be seen"));
    opened->watch();
    // A machine that is busy may let go of RTNL early; code that waits for it does so each time.
    for (int round = 1;; ++round) {
        Clock::duration longest{};
        bool to_the_end = false;
        std::future<bool> asked;
        {
            const RtnlHeld rtnl;
            if (!rtnl.held()) {
                GTEST_SKIP() << "this kernel has no userfaultfd";
            }
            asked = std::async(std::launch::async, [] { return steering::tag_offload("e1").has_value(); });
            const auto end = Clock::now() + 700ms;  // longer than a period
            for (bool usable = true; Clock::now() < end; usable = !usable) {
                const auto begin = Clock::now();
                opened->set_usable(PortId{0}, usable);
                opened->set_keeps({});
                opened->look();
                opened->poll();
                opened->beat(PortId{0}, 1);
                longest = std::max(longest, Clock::now() - begin);
                std::this_thread::sleep_for(10ms);
            }
            to_the_end = asked.wait_for(0s) == std::future_status::timeout;
        }
        EXPECT_TRUE(asked.get());
        if (to_the_end && longest < 100ms) {
            break;
        }
        ASSERT_LT(round, 5) << "held to the end: " << to_the_end << ", the longest pass took "
                            << std::chrono::duration_cast<std::chrono::milliseconds>(longest).count()
                            << " ms";
    }
}

// As often as links change, not once a period.
TEST_F(PortWatchTest, ATakerIsNoticedWhenItsLinkMessageComes) {
    PortWatch watch({{.config = {.name = "e0", .vlan_tags = VlanTags::none}, .sees = 0}});
    must_run({"ip", "link", "add", "br9", "type", "bridge"});
    watch.start();
    int late = 0;
    for (int i = 0; i < 8; ++i) {
        must_run({"ip", "link", "set", "e0", "master", "br9"});
        late += said(watch, "a bridge takes its frames", 150ms) ? 0 : 1;
        must_run({"ip", "link", "set", "e0", "nomaster"});
        late += said(watch, nullptr, 150ms) ? 0 : 1;
    }
    must_run({"ip", "link", "del", "br9"});
    EXPECT_LE(late, 2);
}

TEST_F(PortWatchTest, ANetdevThatGoesAndComesBack) {
    PortWatch watch({{.config = {.name = "e0", .vlan_tags = VlanTags::none}, .sees = 0}});
    watch.start();
    must_run({"ip", "link", "add", "br9", "type", "bridge"});
    for (int i = 0; i < 2; ++i) {
        must_run({"ip", "link", "set", "e0", "master", "br9"});
        EXPECT_TRUE(said(watch, "a bridge takes its frames", 5s));
        delete_veth();
        EXPECT_TRUE(said(watch, nullptr, 5s));
        add_veth();
    }
    must_run({"ip", "link", "del", "br9"});
}

// A program of the judge is loaded anew only where that may help: each time costs tens of milliseconds.
TEST_F(PortWatchTest, OnlyForAMacvlanIsTheJudgeLoadedAgain) {
    const auto programs = [] {
        std::set<std::string> ids;
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
            std::ifstream info(entry.path());
            for (std::string line; std::getline(info, line);) {
                if (line.starts_with("prog_id:")) {
                    ids.insert(line);
                }
            }
        }
        return ids;
    };
    must_run({"ip", "link", "add", "br9", "type", "bridge"});
    must_run({"ip", "link", "set", "e0", "master", "br9"});
    auto judge = steering::Judge::load();
    ASSERT_TRUE(judge) << judge.error().text();
    const auto before = programs();
    ASSERT_FALSE(before.empty());
    const auto taker = judge->taker_of(Ifindex{if_nametoindex("e0")});
    ASSERT_TRUE(taker);
    EXPECT_EQ(taker->text, "a bridge takes its frames");
    EXPECT_EQ(programs(), before);
    must_run({"ip", "link", "del", "br9"});
}

}  // namespace
}  // namespace millrace::test
