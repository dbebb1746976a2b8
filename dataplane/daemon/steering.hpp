// SPDX-License-Identifier: BSD-3-Clause
// The classifiers of all ports, as the daemon drives them. Each port has a state that it should be in; what
// its maps refuse to take is left to the kernel, shown as a keep, and tried again.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/daemon/firewall_watch.hpp"
#include "dataplane/daemon/port_watch.hpp"
#include "millrace/config.hpp"
#include "millrace/keep.hpp"
#include "millrace/result.hpp"
#include "steering_bpf/farewell.hpp"
#include "steering_bpf/local_table.hpp"
#include "steering_bpf/port.hpp"

namespace millrace::dataplane {

class Steering {
  public:
    // Opens every port's maps, and writes policy and limits there with the port disabled: until enable(true),
    // all traffic stays in the kernel, whatever an earlier daemon has left behind. A port whose maps can't be
    // had is the kernel's; problem() says why. Control thread, but counters(). most_own: addresses of the
    // router, of each family.
    static Result<Steering> open(const Config& config, uint32_t most_own = MILLRACE_MAX_LOCAL,
                                 Ruleset ruleset = {});
    // Empty: the port's maps are there.
    [[nodiscard]] const std::string& problem(PortId port) const { return ports_[raw(port)].problem; }

    // Enables the ports that are usable; disables all, the heartbeat too, whatever fails on the way.
    Status enable(bool on);
    // A port without a usable interface (down, gone, enslaved to a VRF, bond or bridge) is the kernel's.
    void set_usable(PortId port, bool usable);
    void set_mac(PortId port, const MacAddress& mac);
    void set_local(const IpAddress& address, bool present);
    // What the kernel keeps of the ports' traffic beside the configuration's [keep]; the whole list.
    void set_keeps(std::span<const Keep> keeps);
    // What is punted in bulk; the whole list.
    void set_punted(std::vector<Keep> keeps);
    // With what was found here: maps that take no more, and what PortWatch sees.
    [[nodiscard]] const std::vector<Keep>& keeps() const { return keeps_; }
    [[nodiscard]] const KeepConfig& configured() const { return config_.keep; }
    void set_configured(const KeepConfig& keep);
    // What is missing of each port's way, by PortId; empty: nothing. To be shown: its heartbeat is stale.
    void set_silent(std::vector<std::string> missing);
    // If the port's maps say what they should. monotonic_ns: since when its way is known to move; 0: stale at
    // once. Any thread, one at a time.
    void beat(PortId port, uint64_t monotonic_ns);
    // From here on the heartbeats stop when the kernel begins to end this process; where it can't be told,
    // they go stale, and the log says so.
    void watch_own_end();
    // From here on the ports' devices are looked at again and again, on a thread that inherits what the
    // caller may run on; open() has done so once.
    void watch() {
        watch_->start();
        firewall_->start();
    }
    // Readable when look() has something to take.
    [[nodiscard]] int watch_fd() const { return watch_->fd(); }
    // Takes what was found of the ports' devices; doesn't wait.
    void look();
    // The firewall's: readable when follow_firewall() has something to take.
    [[nodiscard]] int firewall_fd() const { return firewall_->fd(); }
    // Takes what was found, and has the classifiers act on it. keep_egress: is told before that the devices
    // of which what leaves over them is the kernel's.
    void follow_firewall(const std::function<void(std::set<Ifindex>)>& keep_egress);
    [[nodiscard]] const FirewallWatch::Found& firewall() const { return hooks_; }
    [[nodiscard]] Ifindex firewall_port(PortId port) const { return firewall_->ports()[raw(port)]; }
    [[nodiscard]] const FirewallConfig& firewall_config() const { return config_.firewall; }
    // The same, and tries again what was refused. To be called every poll_ms.
    void poll();
    static constexpr uint64_t poll_ms = 500;

    // The classifier as it was when its maps were opened. nullopt: the port has no maps.
    [[nodiscard]] std::optional<steering::Attached> attached(PortId port) const {
        const auto& maps = ports_[raw(port)].maps;
        return maps ? std::optional(maps->attached()) : std::nullopt;
    }
    [[nodiscard]] Result<steering::Counters> counters(PortId port) const {
        const auto& maps = ports_[raw(port)].maps;
        return maps ? maps->counters() : steering::Counters{};
    }

  private:
    static constexpr std::array families = {Family::ipv4, Family::ipv6};

    // What is kept of one family of a port's traffic.
    struct Kept {
        std::set<Prefix> prefixes;
        bool all = false;
        bool operator==(const Kept&) const = default;
    };
    struct Port {
        PortConfig config;
        std::optional<steering::PortMaps> maps{};  // none: left to the kernel
        std::string problem{};                     // why
        MacAddress mac{};
        bool usable = false;
        std::array<Kept, 2> kept{};  // by family, as the others
        // What the maps say; nullopt = not known, to be written.
        std::array<std::optional<Kept>, 2> written{};
        bool keep_written = true;  // [keep] protocols and l4_ports
        PortWatch::Found watched{};
        std::array<uint32_t, 2> own{};         // generation of the table of own addresses; 0 = none
        std::array<std::string, 2> refused{};  // why all of the family is kept
        std::string silent{};                  // why it has no heartbeat
        std::string missing{};                 // the same, of its way
        // Read by beat(), beside the control thread.
        std::unique_ptr<std::atomic<bool>> may_beat = std::make_unique<std::atomic<bool>>(true);
    };
    static void stop_beating(Port& port);

    // One table of own addresses for all ports.
    struct Own {
        steering::LocalTable table;
        std::set<IpAddress> missing{};  // don't fit
        std::string error{};            // why; empty = none is missing
    };

    Steering() = default;
    Status open(Port& port, const Config& config);
    [[nodiscard]] Kept kept_of(const std::string& port, Family family, std::span<const Keep> keeps) const;
    // Does what is wanted fit into the maps? Else all of the family is kept, and the row says so.
    static void fit(const Port& port, Family family, Kept& kept, std::vector<Keep>& rows);
    // What the watch has found; true = something is different.
    bool take_found();
    bool store(Own& own, const IpAddress& address);
    // Makes the maps say what they should.
    void write(Port& port);
    void write_family(Port& port, size_t family);
    // For all ports; and tells the operator what is different.
    void settle();

    Config config_;
    std::unique_ptr<PortWatch> watch_;
    std::unique_ptr<FirewallWatch> firewall_;
    FirewallWatch::Found hooks_;
    std::vector<Keep> found_;   // set_keeps()
    std::vector<Keep> punted_;  // set_punted()
    std::vector<Keep> keeps_;   // as shown
    std::vector<Port> ports_;   // by PortId
    std::vector<Own> own_;      // by family
    std::optional<steering::Farewell> farewell_;
    bool on_ = false;
};

}  // namespace millrace::dataplane
