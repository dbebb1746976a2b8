// SPDX-License-Identifier: BSD-3-Clause
// The kernel's netdevs, and which of them the fast path may forward over. Control thread only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/keeps.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

struct Link {
    LinkMessage state;
    std::string port;  // the port that carries its frames; empty = none, millrace does not manage it
    uint32_t seen = 0;
    DevicePolicy policy{};
    bool ipv4 = false;        // it has an IPv4 address
    uint32_t distrusted = 0;  // generation; see Mirror::distrust

    [[nodiscard]] bool running() const { return state.up && state.carrier; }
    [[nodiscard]] bool managed() const { return !port.empty(); }
    // A member of a bridge or bond does no routing of its own.
    [[nodiscard]] bool usable() const { return running() && state.master == Ifindex{}; }
    [[nodiscard]] Interface interface() const;
};

class Links {
  public:
    explicit Links(std::vector<std::string> ports);

    struct Change {
        bool interface = false;  // what the sink knows of it is different
        bool managed = false;    // it became an interface of the fast path, or is none any more
    };
    Change apply(const LinkMessage& message, uint32_t generation);
    [[nodiscard]] std::vector<Ifindex> not_seen(uint32_t generation) const;

    // Both return the managed interfaces that are different for it.
    std::vector<Ifindex> set_policies(std::map<Ifindex, DevicePolicy> policies);
    std::vector<Ifindex> set_ipv4(const std::set<Ifindex>& with_address);

    [[nodiscard]] const Link* find(Ifindex ifindex) const;
    [[nodiscard]] const std::map<Ifindex, Link>& all() const { return links_; }
    [[nodiscard]] bool managed(Ifindex ifindex) const;
    [[nodiscard]] bool usable(Ifindex ifindex) const;
    // Its frames may not leave but through the kernel.
    [[nodiscard]] bool egress_kept(Ifindex ifindex) const;
    // Counts changes of managed links.
    [[nodiscard]] uint64_t version() const { return version_; }
    [[nodiscard]] std::vector<PortDevice> port_devices() const;
    // Running, and not distrusted.
    [[nodiscard]] bool in_service(Ifindex ifindex) const;
    void distrust(Ifindex ifindex, uint32_t generation);
    // A dump of this generation is in force: what was distrusted before it is trusted. Returns those links.
    std::vector<Ifindex> settle(uint32_t generation);
    // The interface's name, or "if<index>" where the kernel has not told it.
    [[nodiscard]] std::string name(Ifindex ifindex) const;
    // nullopt: the kernel has told of no netdev of this name.
    [[nodiscard]] std::optional<Ifindex> index_of(std::string_view name) const;

  private:
    // A VLAN on a port will be found here: by kind, and the ifindex of the device below it.
    [[nodiscard]] std::string port_of(const LinkMessage& message) const;

    std::set<std::string> ports_;
    std::map<Ifindex, Link> links_;
    std::map<Ifindex, DevicePolicy> policies_;
    uint64_t version_ = 0;
};

}  // namespace millrace::sync
