// SPDX-License-Identifier: BSD-3-Clause
// Looks after the ports on a thread of its own, four times a second: is the classifier still ours, is the TAP
// in order (if not, it is repaired), and could a port that is not served be opened? For that it attaches the
// classifier to a new netdev of the name, and tries to bind a socket to each queue. What it asks and does
// waits for whoever holds the kernel's network configuration (RTNL), which may be for seconds: the control
// thread, which must beat, only reads what was found.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/daemon/open_ports.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/punt/punter.hpp"
#include "millrace/config.hpp"
#include "steering_bpf/attach.hpp"

namespace millrace::dataplane {

struct PortFinding {
    std::string problem;    // of a port that is open: why it can't be served all the same
    std::string obstacle;   // why it can't be opened (again) now
    bool openable = false;  // it could be opened (again), and would be served better for it
    uint32_t queues = 0;    // that its netdev has; 0: not known

    bool operator==(const PortFinding&) const = default;
};

class PortKeeper {
  public:
    struct Kept {
        PortConfig config;
        const AfXdpPort* port;  // outlives the keeper, like tap
        Tap* tap;               // nullptr where the port is closed
        // The classifier that its sockets are with; nullopt: none.
        std::optional<steering::Attached> attached;
    };
    // All that were configured, by PortId. What is given outlives the keeper.
    static std::vector<Kept> kept(const Config& config, const OpenPorts& open, Punter& punter,
                                  const Steering& steering);
    // ports: by PortId. Main thread.
    static std::unique_ptr<PortKeeper> start(std::vector<Kept> ports, std::string pin_root, size_t workers);
    ~PortKeeper();
    PortKeeper(const PortKeeper&) = delete;
    PortKeeper& operator=(const PortKeeper&) = delete;

    // How many queues the port's netdev had in the last round; 0: not known. Any thread.
    [[nodiscard]] uint32_t queues_of(const std::string& port) const;
    // By PortId; of the last round. Any thread.
    [[nodiscard]] std::vector<PortFinding> findings() const;

  private:
    // Of what costs something to try: the same netdev is tried less and less often.
    struct Attempts {
        Ifindex ifindex{};
        uint16_t end = 0;   // of the queues
        bool good = false;  // the last time
        unsigned failed = 0;
        uint64_t next_round = 0;
        std::string error;
    };
    struct TapCare {
        unsigned repaired = 0;
        uint64_t next_round = 0;
        uint64_t next_word = 0;  // round of the next log line about the same fault
        TapFault told = TapFault::none;
    };
    PortKeeper(std::vector<Kept> ports, std::string pin_root, size_t workers);
    void run();
    [[nodiscard]] PortFinding look(size_t port);
    [[nodiscard]] PortFinding look_at_open(size_t port);
    [[nodiscard]] std::string obstacle(size_t port);
    [[nodiscard]] std::string attempt(size_t port, Ifindex ifindex, uint16_t first, uint16_t end);
    Status attach(const Kept& kept);
    std::string keep_tap(size_t port);
    Result<steering::Attached> classifier_of(const Kept& kept) const;

    std::vector<Kept> ports_;
    std::string pin_root_;
    size_t workers_;
    uint64_t round_ = 0;
    std::vector<Attempts> attempts_;  // by PortId
    std::vector<TapCare> cares_;      // by PortId

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<PortFinding> findings_;  // guarded by mutex_, as stop_
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace millrace::dataplane
