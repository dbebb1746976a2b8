// SPDX-License-Identifier: BSD-3-Clause
// Frames through the classifier that users run, as the kernel runs it, beside a plain model of it: the same
// reason for each, counted once; no frame is changed. The first byte says which flags are set. Needs root:
// the classifier is attached to the loopback device of a network namespace of its own, pinned on a bpf
// filesystem of its own; both end with the process.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>

#include "steering_bpf/firewall.hpp"
#include "steering_bpf/local_table.hpp"
#include "steering_bpf/port.hpp"
#include "steering_bpf/reason_names.hpp"
#include "tests/fuzz/classifier_model.hpp"
#include "tests/support/test_run.hpp"

using namespace millrace;
using namespace millrace::test;

namespace {

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::abort();
}

void must(bool holds, const char* what) {
    if (!holds) {
        give_up(fmt::format("{}: {}", what, std::strerror(errno)));
    }
}

template <class T>
T must(Result<T> result) {
    if (!result) {
        give_up(result.error().text());
    }
    return std::move(*result);
}

void must(const Status& status) {
    if (!status) {
        give_up(status.error().text());
    }
}

class Classifier {
  public:
    Classifier() {
        must(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0, "namespaces of its own");
        must(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mounts of its own");
        std::string folder = (std::filesystem::temp_directory_path() / "millrace-fuzz-XXXXXX").string();
        must(mkdtemp(folder.data()) != nullptr, "a folder");
        must(mount("bpf", folder.c_str(), "bpf", 0, nullptr) == 0, "a bpf filesystem");
        const auto report =
            must(steering::attach("lo", {.pin_root = folder, .mode = steering::Mode::generic}));
        program_ = steering::Fd(bpf_prog_get_fd_by_id(report.program_id));
        maps_.emplace(must(steering::PortMaps::open("lo", folder)));
        const auto pinned = [&](const char* name) {
            steering::Fd map(bpf_obj_get((folder + "/lo/" + name).c_str()));
            must(static_cast<bool>(map), name);
            return map;
        };
        config_ = pinned(MILLRACE_MAP_CONFIG);
        counters_ = pinned(MILLRACE_MAP_COUNTERS);
        const steering::Fd xsks = pinned(MILLRACE_MAP_XSKS);
        // Held by the mount alone from here on.
        must(umount2(folder.c_str(), MNT_DETACH) == 0 && rmdir(folder.c_str()) == 0, "its end");

        must(maps_->set_keep(model_policy()));
        for (const Family family : {Family::ipv4, Family::ipv6}) {
            own_.push_back(must(steering::LocalTable::create(family)));
            for (const IpAddress& address : model_own_addresses()) {
                must(address.family == family ? own_.back().add(address) : Status{});
            }
            must(maps_->set_local(own_.back()));
        }
        const std::array ports = {Ifindex{1}};
        auto hooks = must(steering::HookReader::load());
        must(maps_->set_firewall(steering::judge(must(hooks.read(ports)), {}, "lo", Ifindex{1})));
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        maps_->beat(static_cast<uint64_t>(now.tv_sec) * 1'000'000'000);
        socket_ = steering::Fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
        const uint32_t queue = 0;
        const int fd = socket_.get();
        must(socket_ && bpf_map_update_elem(xsks.get(), &queue, &fd, BPF_ANY) == 0, "a socket");
        policy_ = must(maps_->config());
        policy_.heartbeat_timeout_ns = 1'000'000'000'000'000;
        policy_.max_frame = model_max_frame;
        std::copy(model_mac.bytes.begin(), model_mac.bytes.end(), policy_.mac);
    }

    void set_flags(uint32_t flags) {
        if (policy_.flags != flags) {
            policy_.flags = flags;
            const uint32_t key = 0;
            must(bpf_map_update_elem(config_.get(), &key, &policy_, BPF_ANY) == 0, "the configuration");
        }
    }
    uint64_t counted(uint32_t reason) {
        must(bpf_map_lookup_elem(counters_.get(), &reason, each_cpu_.data()) == 0, "a counter");
        uint64_t sum = 0;
        for (const auto& cpu : each_cpu_) {
            sum += cpu.packets;
        }
        return sum;
    }
    // What the program returns.
    [[nodiscard]] uint32_t run(std::span<const uint8_t> frame) const {
        const TestRun run = test_run(program_.get(), frame);
        if (run.error != 0) {
            give_up(fmt::format("a test run: {}", std::strerror(run.error)));
        }
        if (!std::equal(frame.begin(), frame.end(), run.frame.begin(), run.frame.end())) {
            give_up("the frame was changed");
        }
        return run.action;
    }
    // Which reason counted since the counters were `before`.
    std::string what_counted(const steering::Counters& before) {
        const steering::Counters now = must(maps_->counters());
        std::string names;
        for (size_t i = 0; i < now.size(); ++i) {
            if (now[i].packets != before[i].packets) {
                names += fmt::format(" {}+{}", steering::reason_names[i], now[i].packets - before[i].packets);
            }
        }
        return names;
    }
    steering::Counters counters() { return must(maps_->counters()); }

  private:
    steering::Fd program_, config_, counters_, socket_;
    std::optional<steering::PortMaps> maps_;
    std::vector<steering::LocalTable> own_;
    millrace_steer_config policy_{};
    std::vector<millrace_steer_counter> each_cpu_{static_cast<size_t>(libbpf_num_possible_cpus())};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static auto* const classifier = new Classifier;
    constexpr size_t least = 14;  // of the kernel's test run
    if (size < 1 + least) {
        return -1;
    }
    const uint32_t flags = MILLRACE_FLAG_ENABLED ^ data[0];
    const std::span frame(data + 1, size - 1);
    const millrace_steer_reason reason = model(frame, flags);
    classifier->set_flags(flags);
    const uint64_t before = classifier->counted(reason);
    const uint32_t returned = classifier->run(frame);
    const bool redirects = reason == MILLRACE_STEER_REDIRECT;
    if (classifier->counted(reason) != before + 1 || (returned == XDP_REDIRECT) != redirects ||
        (returned == XDP_PASS) == redirects) {
        const auto all = classifier->counters();
        static_cast<void>(classifier->run(frame));
        give_up(fmt::format("flags {:#x}: the model says {}, the classifier{} and returns {}", flags,
                            steering::reason_names[reason], classifier->what_counted(all), returned));
    }
    return 0;
}
