// SPDX-License-Identifier: BSD-3-Clause
// The classifiers of all ports, as the daemon drives them.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/keep.hpp"
#include "millrace/result.hpp"
#include "steering_bpf/port.hpp"

namespace millrace::dataplane {

class Steering {
  public:
    // Opens every port's maps, and writes policy and limits there with the port disabled: until enable(true),
    // all traffic stays in the kernel, whatever an earlier daemon has left behind. A port whose maps can't be
    // had is the kernel's; problem() says why. Control thread, but beat(), counters().
    static Steering open(const Config& config);
    // Empty: the port's maps are there.
    [[nodiscard]] const std::string& problem(PortId port) const { return problems_[raw(port)]; }

    // Enables the ports that are usable; disables all, the heartbeat too, whatever fails on the way.
    Status enable(bool on);
    // A port without a usable interface (down, gone, enslaved to a VRF, bond or bridge) is the kernel's.
    void set_usable(PortId port, bool usable);
    void set_mac(PortId port, const MacAddress& mac);
    void set_local(const IpAddress& address, bool present);
    // What the kernel keeps of the ports' traffic beside the configuration's [keep]; the whole list.
    void set_keeps(std::span<const Keep> keeps);
    [[nodiscard]] const std::vector<Keep>& keeps() const { return keeps_; }
    [[nodiscard]] const KeepConfig& configured() const { return configured_; }
    // Any thread. Now, for all ports.
    void beat();

    // The kernel's id of the classifier whose maps are driven; 0: the port has no maps.
    [[nodiscard]] uint32_t program(PortId port) const {
        const auto& maps = ports_[raw(port)];
        return maps ? maps->program_id() : 0;
    }
    // nullopt: the port has no maps.
    [[nodiscard]] std::optional<steering::Mode> mode(PortId port) const {
        const auto& maps = ports_[raw(port)];
        return maps ? std::optional(maps->mode()) : std::nullopt;
    }
    [[nodiscard]] Result<steering::Counters> counters(PortId port) const {
        return ports_[raw(port)] ? ports_[raw(port)]->counters() : steering::Counters{};
    }

  private:
    Steering() = default;
    static Result<steering::PortMaps> open(const Config& config, const std::string& port);
    std::vector<std::optional<steering::PortMaps>> ports_;  // by PortId; none: left to the kernel
    std::vector<std::string> problems_;                     // by PortId
    // What is kept of a port's traffic in its maps.
    struct Kept {
        std::set<Prefix> prefixes;
        bool ipv4 = false;
        bool ipv6 = false;
        bool operator==(const Kept&) const = default;
    };
    [[nodiscard]] Kept kept_of(const std::string& port, std::span<const Keep> keeps) const;

    // What does not fit into the maps: then all of the family is kept, and the row says so.
    [[nodiscard]] static std::vector<Keep> fit(const std::string& port, Kept& kept);

    KeepConfig configured_;
    std::vector<Keep> keeps_;
    std::vector<std::string> names_;  // by PortId, as the others
    std::vector<Kept> kept_;          // as last written
    std::vector<bool> usable_;        // by PortId
    bool on_ = false;
};

}  // namespace millrace::dataplane
