// SPDX-License-Identifier: BSD-3-Clause
// Which ports the fast path serves, what keeps it from the others, and whether a restart would help. A port
// is its sockets: where the kernel has unbound those, nothing is steered to it or sent over it any more,
// whatever its name, its index or netlink say. Control thread.
#pragma once

#include <string>
#include <vector>

#include "dataplane/daemon/open_ports.hpp"
#include "dataplane/daemon/port_keeper.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/fib/tables.hpp"

namespace millrace::dataplane {

class PortStates {
  public:
    // All outlive it. Binds the tables to the netdevs of the open ports.
    PortStates(const OpenPorts& open, Steering& steering, Tables& tables);

    // nullptr: the port's netdev is gone, or has another name.
    void interface_changed(PortId port, const Interface* interface);
    // Asks the sockets; a few microseconds. To be called often.
    void probe();
    // By PortId.
    void found(const std::vector<PortFinding>& findings);

    // By the operator: what comes in on it and what leads over it is the kernel's until it is undrained.
    void set_drained(PortId port, bool drained);
    void set_drained(const std::vector<std::string>& names);  // these
    // Names, in the configuration's order.
    [[nodiscard]] std::vector<std::string> drained() const;

    // Why the port is left to the kernel; empty: it is not, but where its link is down.
    [[nodiscard]] std::string problem(PortId port) const;
    // The port for whose sake the daemon should start again; nullptr: none. refused_too: also one that DPDK
    // has refused already.
    [[nodiscard]] const std::string* to_be_opened(bool refused_too) const;

  private:
    struct State {
        std::string name;
        std::string not_open;  // why it could not be opened when the daemon started
        bool refused = false;
        bool dead = false;  // for good
        bool away = false;  // no netdev of its name has its index
        bool drained = false;
        bool interface_usable = false;
        PortFinding found{};
        std::string logged{};
    };
    void update(size_t port);
    [[nodiscard]] static std::string lasting_problem(const State& state);

    const std::vector<AfXdpPort>& ports_;
    Steering& steering_;
    Tables& tables_;
    std::vector<State> states_;  // by PortId
};

}  // namespace millrace::dataplane
