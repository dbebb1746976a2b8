// SPDX-License-Identifier: BSD-3-Clause
// The maps of a port that has its classifier attached, for the daemon: what to steer where, the heartbeat,
// the counters. The maps live in the kernel: what is written stays when the daemon dies, and a stale
// heartbeat then makes it ineffective. A daemon that starts calls configure(), set_keep() and set_local(),
// and beats only once its workers run.
//
// Control thread, except beat() and counters(): any thread. One object at a time for a port. Move-only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "millrace/config.hpp"
#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/local_table.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

class PortMaps {
  public:
    // Opens what attach() pinned, and checks that it belongs to the netdev that has the port's name now, in
    // the network namespace of the calling thread, and that the maps are those of this build's ABI. Error
    // also while another PortMaps of any process has them open.
    static Result<PortMaps> open(const std::string& port, const std::string& pin_root = MILLRACE_PIN_ROOT);

    // Timeout, largest frame, MAC address and ENABLED are taken over; the KEEP flags and the protocols are
    // set_keep()'s and stay. Error: max_frame above MILLRACE_MAX_FRAME.
    Status configure(const millrace_steer_config& config);
    [[nodiscard]] Result<millrace_steer_config> config() const;
    Status enable(bool on);
    Status set_mac(const MacAddress& mac);

    // Replaces the whole policy. Error: a protocol other than 6 or 17 in l4_ports, more than
    // MILLRACE_MAX_KEEP prefixes of a family.
    Status set_keep(const KeepConfig& keep);

    // Its protocols and L4 ports alone. Error: as above.
    Status set_keep_protocols(const KeepConfig& keep);

    // What is kept of a family beyond protocols and L4 ports, which stay: replaces its prefixes of the policy
    // (all are of that family), and says whether all of it is kept. While the prefixes change, all of it is:
    // no packet slips through. Error: more than MILLRACE_MAX_KEEP prefixes, or the kernel has no room for
    // them; then all of it stays kept, unless the configuration's map can't be written at all.
    Status update_keep(Family family, std::span<const Prefix> prefixes, bool all);

    // The router's own addresses of a family are those of this table from now on. It goes on being the
    // port's when the daemon ends.
    Status set_local(const LocalTable& table);

    // How the classifier finds out whether a macvlan leaves the port's transit alone.
    Status set_judgement(const millrace_judgement& judgement);

    // Which of the kernel's hooks transit may go past.
    Status set_firewall(const millrace_firewall& firewall);

    // CLOCK_MONOTONIC now, in ns. One relaxed store into the map; no system call.
    void beat(uint64_t monotonic_ns);
    // For Farewell; this object's to close.
    [[nodiscard]] int heartbeat_map() const { return heartbeat_map_.get(); }

    [[nodiscard]] Result<Counters> counters() const;  // since attach, summed over the CPUs
    // As it was when it was opened.
    [[nodiscard]] const Attached& attached() const { return attached_; }

  private:
    struct Unmap {
        void operator()(millrace_heartbeat* p) const;
    };

    explicit PortMaps(std::string port) : port_(std::move(port)) {}
    [[nodiscard]] tl::unexpected<Error> failed(const std::string& what, int errno_value) const;
    Status write_config(const millrace_steer_config& config);
    Status set_keep_ports(const KeepConfig& keep);

    std::string port_;
    Attached attached_;
    Fd lock_;  // of the pin folder, while this object lives
    Fd config_, counters_, local4_, local6_, keep4_, keep6_, keep_l4_, judgement_, firewall_;
    Fd heartbeat_map_;
    std::unique_ptr<millrace_heartbeat, Unmap> heartbeat_;  // written by beat(), read by the classifier
};

}  // namespace millrace::steering
