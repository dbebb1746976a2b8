// SPDX-License-Identifier: BSD-3-Clause
#include "classifier_fixture.hpp"

#include <bpf/bpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

#include "steering_bpf/reason_names.hpp"
#include "tests/support/test_run.hpp"

namespace millrace::test {
namespace {

constexpr uint32_t queue = 0;  // what BPF_PROG_TEST_RUN says

}  // namespace

std::string case_name(const testing::TestParamInfo<Case>& info) {
    return info.param.name;
}

void PrintTo(const Case& c, std::ostream* out) {
    *out << c.name << " -> " << steering::reason_names[c.reason];
}

uint64_t ClassifierTest::monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

millrace_steer_config ClassifierTest::plain_config() {
    millrace_steer_config config{};
    config.heartbeat_timeout_ns = 3'600'000'000'000;  // no test takes an hour
    config.flags = MILLRACE_FLAG_ENABLED;
    config.max_frame = test_max_frame;
    std::copy(router_mac.bytes.begin(), router_mac.bytes.end(), config.mac);
    return config;
}

void ClassifierTest::SetUp() {
    BpfTest::SetUp();
    if (IsSkipped()) {
        return;
    }
    const auto report = steering::attach("lo", {.pin_root = pin_root(), .mode = steering::Mode::generic});
    ASSERT_TRUE(report) << report.error().text();
    program_ = steering::Fd(bpf_prog_get_fd_by_id(report->program_id));
    ASSERT_TRUE(program_);
    xsks_ = steering::Fd(bpf_obj_get((pin_root() + "/lo/" MILLRACE_MAP_XSKS).c_str()));
    ASSERT_TRUE(xsks_);
    next_daemon();
    ASSERT_TRUE(maps_);
    ASSERT_TRUE(maps().configure(plain_config()));
    for (auto* own : {&own4_, &own6_}) {
        auto table = steering::LocalTable::create(own == &own4_ ? Family::ipv4 : Family::ipv6);
        ASSERT_TRUE(table) << table.error().text();
        own->emplace(std::move(*table));
        ASSERT_TRUE(maps().set_local(**own));
    }
    ASSERT_NO_FATAL_FAILURE(judge_firewall());
    maps().beat(monotonic_ns());
    insert_socket();
}

Result<steering::Hooks> ClassifierTest::read_hooks() {
    static auto reader = steering::HookReader::load();  // takes a second under ASan
    const std::array ports = {loopback};
    return reader ? reader->read(ports) : tl::unexpected(reader.error());
}

void ClassifierTest::judge_firewall(const FirewallConfig& config) {
    const auto hooks = read_hooks();
    ASSERT_TRUE(hooks) << hooks.error().text();
    ASSERT_TRUE(maps().set_firewall(steering::judge(*hooks, config, "lo", loopback)));
}

void ClassifierTest::next_daemon() {
    maps_.reset();
    auto opened = steering::PortMaps::open("lo", pin_root());
    ASSERT_TRUE(opened) << opened.error().text();
    maps_.emplace(std::move(*opened));
}

void ClassifierTest::TearDown() {
    if (maps_) {
        EXPECT_TRUE(steering::detach("lo", pin_root()));
    }
}

void ClassifierTest::add_local(const IpAddress& address) {
    steering::LocalTable& table = own(address.family);
    const uint32_t before = table.generation();
    const auto added = table.add(address);
    ASSERT_TRUE(added) << added.error().text();
    if (table.generation() != before) {
        ASSERT_TRUE(maps().set_local(table));
    }
}

void ClassifierTest::insert_socket() {
    // A socket needs no ring and no binding to be an entry: only the verdict is looked at.
    socket_ = steering::Fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    ASSERT_TRUE(socket_) << "errno " << errno;
    const int fd = socket_.get();
    ASSERT_EQ(bpf_map_update_elem(xsks_.get(), &queue, &fd, BPF_ANY), 0) << "errno " << errno;
}

void ClassifierTest::remove_socket() {
    ASSERT_EQ(bpf_map_delete_elem(xsks_.get(), &queue), 0) << "errno " << errno;
}

void ClassifierTest::expect(millrace_steer_reason reason, const Bytes& frame) {
    const auto before = maps().counters();
    ASSERT_TRUE(before);
    const TestRun run = test_run(program(), frame);
    ASSERT_EQ(run.error, 0);
    EXPECT_EQ(run.action, static_cast<uint32_t>(reason == MILLRACE_STEER_REDIRECT ? XDP_REDIRECT : XDP_PASS));
    EXPECT_EQ(run.frame, frame) << "the frame was modified";

    const auto after = maps().counters();
    ASSERT_TRUE(after);
    for (size_t i = 0; i < after->size(); ++i) {
        const bool this_one = i == static_cast<size_t>(reason);
        EXPECT_EQ((*after)[i].packets - (*before)[i].packets, this_one ? 1U : 0U)
            << steering::reason_names[i];
        EXPECT_EQ((*after)[i].bytes - (*before)[i].bytes, this_one ? frame.size() : 0U)
            << steering::reason_names[i];
    }
}

}  // namespace millrace::test
