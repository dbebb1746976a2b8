// SPDX-License-Identifier: BSD-3-Clause
// What nobody announces of a port's device, and makes its traffic the kernel's: a device above it that takes
// its frames, VLAN tags that the classifier can't see. Looked at time and again, on a thread of its own: some
// of it waits for whoever holds the kernel's network configuration (RTNL), which may be for seconds. The
// control thread, which must beat, only takes what was found.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/keep.hpp"
#include "steering_bpf/device.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/judge.hpp"

namespace millrace::dataplane {

// May a tagged frame of the port pass for an untagged one, and what can be done about it? Empty = no.
// sees: MILLRACE_SEES_* of the classifier. Any thread.
std::string hidden_tags(const PortConfig& port, uint32_t sees, bool hardware,
                        const Result<steering::TagOffload>& offload);
// The same for the device as it is now; may wait for RTNL.
std::string hidden_tags(const PortConfig& port, uint32_t sees, Ifindex ifindex);

class PortWatch {
  public:
    struct Watched {
        PortConfig config;
        std::optional<uint32_t>
            sees;  // MILLRACE_SEES_* of its classifier; nullopt: it has none, and is left out
    };
    struct Found {
        std::vector<Keep> keeps{};
        bool of_netlink = false;       // the mirror has a keep for what takes the frames, too
        millrace_judgement macvlan{};  // how the classifier asks one, where there is one

        bool operator==(const Found& other) const {
            return keeps == other.keeps && of_netlink == other.of_netlink &&
                   macvlan.macvlan_handler == other.macvlan.macvlan_handler;
        }
    };
    // ports: by PortId. Looks at each once, on the calling thread: nothing is steered before that. The same
    // network namespace as start().
    explicit PortWatch(std::vector<Watched> ports);
    // Waits for the question that its thread is at: where somebody holds RTNL, until that one lets go.
    ~PortWatch();
    PortWatch(const PortWatch&) = delete;
    PortWatch& operator=(const PortWatch&) = delete;

    static constexpr auto period = std::chrono::milliseconds(500);
    // From here on it looks every period, on each link message of the namespace, and when nudged. Once.
    void start();
    // Looks again soon. Any thread; doesn't wait.
    void nudge() const;
    // Readable when something else than before was found, until found() is called. Not the caller's to close.
    [[nodiscard]] int fd() const { return news_.get(); }
    // By PortId; of the last looks. A device that is not there takes nothing. Any thread; doesn't wait.
    std::vector<Found> found();

  private:
    struct Port {
        Watched watched;
        Ifindex ifindex{};  // of its name; 0 = none
    };
    void run();
    void look_at_all();
    Found look(Port& port);
    Ifindex ifindex_of(Port& port) const;
    // Has the kernel told of any link since?
    [[nodiscard]] bool links_changed() const;

    // Of who looks.
    std::vector<Port> ports_;
    std::optional<steering::Judge> judge_;
    std::string no_judge_;   // why there is none
    bool announced_ = true;  // a port that was not there may be now

    steering::Fd wake_;
    steering::Fd news_;
    steering::Fd links_;  // none: whatever it would say is seen a period later
    std::atomic<bool> stop_ = false;
    std::mutex mutex_;
    std::vector<Found> found_;  // by PortId; guarded by mutex_
    std::thread thread_;
};

}  // namespace millrace::dataplane
