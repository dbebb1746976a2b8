// SPDX-License-Identifier: BSD-3-Clause
// What the kernel's firewall has registered where transit comes by, read time and again on a thread of its
// own. Before it judges a new generation of the ruleset, it waits for whoever made it to have finished (a
// reload of 10,000 rules takes a good part of a second): the control thread, which must beat, may not. Nor is
// it PortWatch's thread, which may wait for RTNL for seconds: until it is judged, all is left to the kernel.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/keep.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/firewall.hpp"

namespace millrace::dataplane {

// What is announced of the nftables ruleset; of a kernel without it, nothing.
struct Ruleset {
    int fd = -1;                       // readable: call take()
    std::function<bool()> take{};      // what was announced; true = some of it was lost
    std::function<Status()> settle{};  // returns when who is changing it now has finished
};

class FirewallWatch {
  public:
    struct Found {
        steering::Hooks hooks{};
        std::string problem{};  // why there are none; then all is left to the kernel

        bool operator==(const Found&) const = default;
    };
    // Looks once, on the calling thread: nothing is steered before that. The same network namespace as
    // start(). ports: those of the configuration; one that is not there comes with another life of the
    // daemon.
    FirewallWatch(const std::vector<PortConfig>& ports, Ruleset ruleset);
    // Waits for whoever changes the ruleset, where that is what its thread does.
    ~FirewallWatch();
    FirewallWatch(const FirewallWatch&) = delete;
    FirewallWatch& operator=(const FirewallWatch&) = delete;

    // What is not announced (iptables-legacy, BPF links, tcx programs, IPVS) is seen within this.
    static constexpr auto period = std::chrono::milliseconds(50);
    // From here on it looks every period, and when nftables announces something. Once.
    void start();
    // Readable when something else than before was found, until found() is called. Not the caller's to close.
    [[nodiscard]] int fd() const { return news_.get(); }
    // Of the last look. Any thread; doesn't wait.
    Found found();
    // By PortId; 0: not there when this was made.
    [[nodiscard]] const std::vector<Ifindex>& ports() const { return ports_; }

  private:
    void run();
    void look();
    Found read();
    Result<steering::Hooks> settled(steering::Hooks hooks);

    // Of who looks.
    std::vector<Ifindex> ports_;
    std::optional<steering::HookReader> reader_;
    std::string no_reader_;  // why there is none
    Ruleset ruleset_;

    steering::Fd wake_;
    steering::Fd news_;
    std::atomic<bool> stop_ = false;
    std::mutex mutex_;
    Found found_;  // guarded by mutex_
    std::thread thread_;
};

// What follows from it, for the operator: what is left to the kernel, and what is not although it has hooks.
[[nodiscard]] std::vector<Keep> keeps_of(const FirewallWatch::Found& found, const Config& config,
                                         const std::vector<Ifindex>& ports);
// The devices of which what leaves over them is left to the kernel.
[[nodiscard]] std::set<Ifindex> kept_egress(const FirewallWatch::Found& found, const Config& config);
// Says once what the configuration lets pass, and for --check what the firewall keeps now.
void warn_of_bypass(const Config& config);
void tell_of_firewall(const Config& config, Ruleset ruleset);

}  // namespace millrace::dataplane
