// SPDX-License-Identifier: BSD-3-Clause
// FibSync against the kernel, in a network namespace of its own.
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <vector>

#include "fib_sync/fib_sync.hpp"
#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

class Netns : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        if (geteuid() != 0) {
            return;
        }
        // The program's only thread; the namespace goes with it.
        ready_ = unshare(CLONE_NEWNET) == 0;
    }
    void SetUp() override {
        if (!ready_) {
            GTEST_SKIP() << "needs root, for a network namespace";
        }
        run("ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0;"
            "ip link add e0 type veth peer name p0; ip link add e1 type veth peer name p1;"
            "for i in e0 p0 e1 p1; do ip link set $i up; done;"
            "ip addr add 192.0.2.1/24 dev e0; ip addr add 2001:db8::1/64 dev e0 nodad;"
            "ip addr add 198.51.100.1/24 dev e1");
    }
    void TearDown() override {
        if (ready_) {
            run("ip link del e0; ip link del e1; ip nexthop flush >/dev/null 2>&1 || true; ip route flush table main || true");
        }
    }
    static void run(const std::string& commands) {
        ASSERT_EQ(std::system(("set -e; " + commands).c_str()), 0)
            << commands;  // NOLINT(concurrency-mt-unsafe)
    }
    void start(FibSync::Options options = {}) {
        auto made = FibSync::create(sink_, {"e0", "e1"}, options);
        ASSERT_TRUE(made.has_value()) << made.error().text();
        sync_ = std::move(*made);
        sync_->start();
        ASSERT_TRUE(until([&] { return sync_->settled() && sync_->synced(); }));
    }
    // Runs the loop that a daemon would, until the condition holds; false after 10 s.
    bool until(const std::function<bool()>& condition) {
        const uint64_t end = FibSync::now_ms() + 10'000;
        while (!condition()) {
            const uint64_t now = FibSync::now_ms();
            if (now > end) {
                return false;
            }
            const uint64_t deadline = std::min(sync_->next_deadline_ms(), now + 100);
            std::vector<pollfd> fds = {{sync_->event_fd(), POLLIN, 0}, {sync_->dump_fd(), POLLIN, 0}};
            for (const int fd : sync_->policy_fds()) {
                fds.push_back({fd, POLLIN, 0});
            }
            poll(fds.data(), fds.size(), static_cast<int>(deadline > now ? deadline - now : 0));
            if ((fds[0].revents & POLLIN) != 0) {
                sync_->on_event_readable();
            }
            if ((fds[1].revents & POLLIN) != 0) {
                sync_->on_dump_readable();
            }
            if (std::any_of(fds.begin() + 2, fds.end(), [](const pollfd& p) { return p.revents != 0; })) {
                sync_->on_policy_readable();
            }
            sync_->tick();
        }
        return true;
    }
    // Does `ip neigh` show the text for the entry (any, where empty)?
    static bool shown(const std::string& address, const std::string& text) {
        const std::string command = fmt::format("ip neigh show {} dev e0 | grep -q '{}'", address, text);
        return std::system(command.c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
    }
    bool until_shown(const std::string& address, const std::string& text) {
        return until([&] { return shown(address, text); });
    }
    bool becomes(const char* prefix, const std::string& outcome) {
        return until([&] { return sink_.outcome(prefix) == outcome; });
    }
    // A second mirror that is started now has the same FIB, or will have.
    void expect_equal_to_a_fresh_one() {
        RecordingSink fresh;
        auto made = FibSync::create(fresh, {"e0", "e1"});
        ASSERT_TRUE(made.has_value());
        std::swap(sync_, *made);
        sync_->start();
        ASSERT_TRUE(until([&] { return sync_->settled(); }));
        std::swap(sync_, *made);
        EXPECT_TRUE(until([&] { return sync_->settled() && sink_.fib() == fresh.fib(); }));
        EXPECT_EQ(sink_.fib(), fresh.fib());
        EXPECT_EQ(sink_.locals, fresh.locals);
    }
    [[nodiscard]] std::string over(const char* port, const char* how, int weight = 1) const {
        for (const auto& [ifindex, interface] : sink_.interfaces) {
            if (interface.name == port) {
                return fmt::format("forward {}:{}*{}", raw(ifindex), how, weight);
            }
        }
        return "no such interface";
    }

    [[nodiscard]] const Interface* interface(const char* port) const {
        for (const auto& [ifindex, interface] : sink_.interfaces) {
            if (interface.name == port) {
                return &interface;
            }
        }
        return nullptr;
    }
    [[nodiscard]] std::vector<std::string> kept() const {
        std::vector<std::string> all;
        for (const Keep& keep : sink_.keeps) {
            all.push_back(
                fmt::format("{} {}: {}", keep.port.empty() ? "all" : keep.port, keep.what(), keep.text));
        }
        return all;
    }

    static inline bool ready_ = false;
    RecordingSink sink_;
    std::unique_ptr<FibSync> sync_;
};

TEST_F(Netns, InitialDump) {
    run("ip route add 10.0.0.0/8 via 192.0.2.9; ip -6 route add 2001:db8:1::/48 via 2001:db8::9;"
        "ip route add blackhole 10.66.0.0/16; ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev e0 nud permanent");
    start();
    EXPECT_TRUE(sync_->synced());
    EXPECT_EQ(sink_.interfaces.size(), 2U);
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), over("e0", "02:00:00:00:00:09"));
    EXPECT_EQ(sink_.outcome("192.0.2.9/32"), over("e0", "02:00:00:00:00:09"));
    EXPECT_EQ(sink_.outcome("2001:db8:1::/48"), over("e0", "punt_no_neighbour"));
    EXPECT_EQ(sink_.outcome("10.66.0.0/16"), "drop_blackhole");
    EXPECT_EQ(sink_.outcome("192.0.2.0/24"), "punt_glean");
    EXPECT_EQ(sink_.outcome("192.0.2.1/32"), "punt_local");
    EXPECT_EQ(sink_.outcome("192.0.2.255/32"), "punt_local");
    EXPECT_EQ(sink_.outcome("ff00::/8"), "punt_local");
    EXPECT_TRUE(sink_.locals.contains(ip("2001:db8::1")));
}

TEST_F(Netns, RoutesAndNeighboursAreFollowed) {
    start();
    run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev e0 nud permanent");
    run("ip route add 10.0.0.0/8 via 192.0.2.9 metric 20");
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e0", "02:00:00:00:00:09")));
    run("ip route add blackhole 10.0.0.0/8 metric 5");
    EXPECT_TRUE(becomes("10.0.0.0/8", "drop_blackhole"));
    run("ip route del blackhole 10.0.0.0/8 metric 5; ip route replace 10.0.0.0/8 via 198.51.100.9 metric 20");
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e1", "punt_no_neighbour")));
    run("ip route append 10.0.0.0/8 via 192.0.2.9 metric 20; ip route del 10.0.0.0/8 via 198.51.100.9 metric 20");
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e0", "02:00:00:00:00:09")));
    run("ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:0a dev e0 nud permanent");
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e0", "02:00:00:00:00:0a")));
    run("ip neigh del 192.0.2.9 dev e0");
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e0", "punt_no_neighbour")));
    EXPECT_TRUE(becomes("192.0.2.9/32", "none"));
    run("ip route del 10.0.0.0/8 metric 20");
    EXPECT_TRUE(becomes("10.0.0.0/8", "none"));
    run("ip -6 route add 2001:db8:1::/48 via 2001:db8::9; ip -6 route append 2001:db8:1::/48 via 2001:db8::a");
    EXPECT_TRUE(until([&] { return sink_.outcome("2001:db8:1::/48").size() > 50; })) << "two paths";
    run("ip -6 route del 2001:db8:1::/48 via 2001:db8::9");
    EXPECT_TRUE(becomes("2001:db8:1::/48", over("e0", "punt_no_neighbour")));
    run("ip route add 10.1.0.0/16 via inet6 2001:db8::9 dev e0; ip route add 10.2.0.0/16 via 203.0.113.1 dev e1 onlink");
    EXPECT_TRUE(becomes("10.1.0.0/16", over("e0", "punt_no_neighbour")));
    EXPECT_TRUE(becomes("10.2.0.0/16", over("e1", "punt_no_neighbour")));
    run("ip addr add 203.0.113.77/32 dev e1");
    EXPECT_TRUE(becomes("203.0.113.77/32", "punt_local"));
    run("ip addr del 203.0.113.77/32 dev e1");
    EXPECT_TRUE(becomes("203.0.113.77/32", "none"));
    EXPECT_FALSE(sink_.locals.contains(ip("203.0.113.77")));
    EXPECT_EQ(sync_->statistics().decode_errors, 0U);
    EXPECT_EQ(sync_->statistics().doubts, 0U);
    expect_equal_to_a_fresh_one();
}

TEST_F(Netns, NexthopObjects) {
    start();
    run("ip nexthop add id 1 via 192.0.2.9 dev e0; ip nexthop add id 2 via 198.51.100.9 dev e1;"
        "ip nexthop add id 3 group 1,2/2,5; ip route add 10.0.0.0/8 nhid 3; ip route add 10.1.0.0/16 nhid 1;"
        "ip -6 nexthop add id 4 via 2001:db8::9 dev e0; ip -6 route add 2001:db8:1::/48 nhid 4");
    EXPECT_TRUE(becomes("10.1.0.0/16", over("e0", "punt_no_neighbour")));
    EXPECT_TRUE(until([&] { return sink_.outcome("10.0.0.0/8").find("*5") != std::string::npos; }));
    EXPECT_TRUE(becomes("2001:db8:1::/48", over("e0", "punt_no_neighbour")));
    run("ip nexthop replace id 1 via 198.51.100.8 dev e1");
    EXPECT_TRUE(becomes("10.1.0.0/16", over("e1", "punt_no_neighbour")));
    run("ip nexthop del id 1");  // the kernel takes 10.1.0.0/16 along silently, and shrinks group 3
    EXPECT_TRUE(becomes("10.1.0.0/16", "none"));
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e1", "punt_no_neighbour", 5)));
    expect_equal_to_a_fresh_one();
}

TEST_F(Netns, LinkDownAndUp) {
    run("ip nexthop add id 1 via 192.0.2.9 dev e0; ip nexthop add id 2 via 198.51.100.9 dev e1; ip nexthop add id 3 group 1/2;"
        "ip route add 10.0.0.0/8 nhid 3; ip route add 10.1.0.0/16 nhid 1; ip route add 10.2.0.0/16 via 192.0.2.8;"
        "ip route add 10.3.0.0/16 nexthop via 192.0.2.8 nexthop via 198.51.100.8; ip -6 route add 2001:db8:1::/48 via 2001:db8::9");
    start();
    const uint64_t resyncs = sync_->statistics().resyncs;
    run("ip link set e0 down");
    for (const char* prefix : {"10.1.0.0/16", "10.2.0.0/16", "2001:db8:1::/48", "192.0.2.0/24"}) {
        EXPECT_TRUE(becomes(prefix, "none")) << prefix;
    }
    EXPECT_TRUE(becomes("10.0.0.0/8", over("e1", "punt_no_neighbour")));
    EXPECT_TRUE(becomes("10.3.0.0/16", over("e1", "punt_no_neighbour")));
    EXPECT_GT(sync_->statistics().resyncs, resyncs);
    expect_equal_to_a_fresh_one();
    run("ip link set e0 up");
    EXPECT_TRUE(becomes("192.0.2.0/24", "punt_glean"));
    expect_equal_to_a_fresh_one();
    run("ip route add 10.2.0.0/16 via 192.0.2.8; ip link set p0 down");  // carrier loss
    EXPECT_TRUE(until([&] {
        return std::none_of(sink_.interfaces.begin(), sink_.interfaces.end(),
                            [](const auto& i) { return i.second.name == "e0" && i.second.usable; });
    }));
    EXPECT_NE(sink_.outcome("10.2.0.0/16"), over("e0", "punt_no_neighbour"));
    run("ip link set p0 up");
    expect_equal_to_a_fresh_one();
    run("ip link set e1 name other0");
    EXPECT_TRUE(until([&] { return sink_.interfaces.size() == 1; }));
    run("ip link set other0 name e1");
    EXPECT_TRUE(until([&] { return sink_.interfaces.size() == 2; }));
    expect_equal_to_a_fresh_one();
}

TEST_F(Netns, NeighboursInUseAreManagedAndGivenBack) {
    run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev e0 nud stale;"
        "ip neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev e0 nud stale;"
        "ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev e0 nud permanent;"
        // As a killed daemon leaves it.
        "ip neigh add 192.0.2.6 dev e0 managed extern_learn protocol 109;"
        "ip neigh add 192.0.2.5 dev e0 extern_learn protocol zebra lladdr 02:00:00:00:00:05 nud stale;"
        "ip route add 10.0.0.0/8 via 192.0.2.9; ip route add 10.7.0.0/16 via 192.0.2.7;"
        "ip route add 10.5.0.0/16 via 192.0.2.5; ip -6 route add 2001:db8:1::/48 via fe80::9 dev e0");
    start();
    EXPECT_TRUE(until_shown("192.0.2.9", "managed extern_learn"));
    EXPECT_TRUE(until_shown("192.0.2.6", "proto kernel"));
    EXPECT_FALSE(shown("192.0.2.6", "managed"));
    EXPECT_TRUE(until_shown("fe80::9", "managed extern_learn"));
    EXPECT_TRUE(shown("192.0.2.8", "STALE"));
    EXPECT_FALSE(shown("192.0.2.8", "proto"));
    EXPECT_TRUE(shown("192.0.2.7", "PERMANENT"));
    EXPECT_FALSE(shown("192.0.2.7", "proto"));
    EXPECT_TRUE(shown("192.0.2.5", "proto zebra"));
    EXPECT_FALSE(shown("192.0.2.5", "managed"));
    // The host becomes used.
    sink_.used.insert(sink_.groups.at(sink_.group_of("192.0.2.8/32")).members.front().adjacency);
    EXPECT_TRUE(until_shown("192.0.2.8", "managed extern_learn"));
    sync_->give_back_neighbours();
    EXPECT_FALSE(shown("", "managed"));
    EXPECT_FALSE(shown("", "109"));
    EXPECT_TRUE(shown("192.0.2.5", "extern_learn"));
    EXPECT_TRUE(shown("192.0.2.9", "lladdr 02:00:00:00:00:09"));
    EXPECT_EQ(sync_->neighbour_writer().refused(), 0U);
}

TEST_F(Netns, NeighboursInUseAreRefreshedWhereTheKernelManagesNone) {
    run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev e0 nud stale;"
        "ip neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev e0 nud stale;"
        "ip route add 10.0.0.0/8 via 192.0.2.9; ip route add 10.6.0.0/16 via 192.0.2.6");
    FibSync::Options options;
    options.managed_neighbours = false;
    start(options);
    EXPECT_TRUE(until_shown("192.0.2.9", "DELAY"));
    EXPECT_TRUE(until_shown("192.0.2.6", "INCOMPLETE"));
    EXPECT_TRUE(shown("192.0.2.8", "STALE"));
    EXPECT_FALSE(shown("", "extern_learn"));
    EXPECT_EQ(sync_->neighbour_writer().refused(), 0U);
}

TEST_F(Netns, SwitchesOfADeviceAreFollowed) {
    run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.e0.rp_filter=0 net.ipv4.conf.e1.rp_filter=0");
    start();
    const auto filter = [&](const char* port, ReversePath wanted) {
        return until([&] { return interface(port)->reverse_path == wanted; });
    };
    EXPECT_TRUE(filter("e0", ReversePath::off));
    EXPECT_EQ(kept(), std::vector<std::string>{});
    run("sysctl -qw net.ipv4.conf.e0.rp_filter=2");
    EXPECT_TRUE(filter("e0", ReversePath::loose));
    EXPECT_EQ(interface("e1")->reverse_path, ReversePath::off);
    run("ip addr del 192.0.2.1/24 dev e0");  // __fib_validate_source: without an address, loose is strict
    EXPECT_TRUE(filter("e0", ReversePath::strict));
    run("ip addr add 192.0.2.1/24 dev e0");
    EXPECT_TRUE(filter("e0", ReversePath::loose));
    run("sysctl -qw net.ipv4.conf.all.rp_filter=1");
    EXPECT_TRUE(filter("e0", ReversePath::loose)) << "the higher number is in force";
    EXPECT_TRUE(filter("e1", ReversePath::strict));
    run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.e0.rp_filter=0");
    EXPECT_TRUE(filter("e0", ReversePath::off));
    EXPECT_TRUE(filter("e1", ReversePath::off));

    ASSERT_TRUE(until([&] { return sync_->settled(); })) << "a resync would read it, too";
    EXPECT_EQ(interface("e0")->mtu6, 1500U);
    const uint64_t begin = FibSync::now_ms();
    run("sysctl -qw net.ipv6.conf.e0.mtu=1400");
    EXPECT_TRUE(until([&] { return interface("e0")->mtu6 == 1400; })) << "nothing announces it";
    EXPECT_LT(FibSync::now_ms() - begin, 3000U);
    EXPECT_EQ(interface("e0")->mtu, 1500U);
    run("ip link set e0 mtu 9000");
    EXPECT_TRUE(until([&] { return interface("e0")->mtu6 == 9000; })) << "the kernel sets both";
    run("ip link set e0 mtu 1200");
    EXPECT_TRUE(until([&] {
        return kept() == std::vector<std::string>{"e0 IPv6: the kernel has no IPv6 on it (MTU below 1280?)"};
    }));
    run("ip link set e0 mtu 1500");
    EXPECT_TRUE(until([&] { return kept().empty(); }));
}

TEST_F(Netns, KeepsSurviveALostNotification) {
    run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    start();
    // More than the socket holds, unread: the kernel drops what is beyond, the last of all.
    run("for i in $(seq 3000); do echo rule add pref $i to 10.0.0.0/8 lookup 100; done | ip -batch -;"
        "for i in $(seq 3000); do echo rule del pref $i; done | ip -batch -; ip rule add pref 7 to 10.7.0.0/16 lookup 100");
    EXPECT_TRUE(until([&] {
        return kept() ==
               std::vector<std::string>{"all 10.7.0.0/16: policy rule 7: from all to 10.7.0.0/16 lookup 100"};
    }));
    run("ip rule del pref 7");
    EXPECT_TRUE(until([&] { return kept().empty(); }));
}

TEST_F(Netns, OverrunIsRepaired) {
    FibSync::Options options;
    options.receive_buffer = 1;  // the kernel's minimum
    start(options);
    char path[] = "/tmp/mrsync-batch-XXXXXX";
    const int fd = mkstemp(path);
    ASSERT_GE(fd, 0);
    close(fd);
    {
        std::ofstream batch(path);
        for (int i = 0; i < 20'000; ++i) {
            batch << fmt::format("route add 10.{}.{}.0/24 via 192.0.2.{}\n", i / 250, i % 250, 2 + i % 7);
            if (i % 10 == 9) {
                batch << fmt::format("route del 10.{}.{}.0/24\n", (i - 5) / 250, (i - 5) % 250);
            }
        }
    }
    run(fmt::format("ip -batch {}", path));
    unlink(path);
    EXPECT_TRUE(until([&] { return sync_->statistics().overruns > 0; }));
    EXPECT_TRUE(until([&] { return sync_->settled(); }));
    EXPECT_GT(sink_.routes.size(), 18'000U);
    EXPECT_EQ(sink_.outcome("10.0.4.0/24"), "none");
    expect_equal_to_a_fresh_one();
    std::printf("%llu overruns, %llu resyncs, last %llu ms\n",
                static_cast<unsigned long long>(sync_->statistics().overruns),
                static_cast<unsigned long long>(sync_->statistics().resyncs),
                static_cast<unsigned long long>(sync_->statistics().last_duration_ms));
}

}  // namespace
}  // namespace millrace::sync::test
