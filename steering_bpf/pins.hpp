// SPDX-License-Identifier: BSD-3-Clause
// The pinned files of each port: <root>/<port>/{link,<map name>}. Internal to steering_bpf.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "millrace/result.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::steering {

// The folder's name of a port. bpffs refuses dots, which netdevs may have (eth0.100): they become ':',
// which netdevs never have. Error: a name that no netdev can have (so no path leaves the root either).
Result<std::string> pin_dir(const std::string& pin_root, const std::string& port);
// Names of the ports that have a folder, sorted. No root = no ports.
Result<std::vector<std::string>> pinned_ports(const std::string& pin_root);
// Makes the root, and mounts a bpffs on /sys/fs/bpf when the root is below and there is none.
Status prepare_pin_root(const std::string& pin_root);
// One attaches or detaches below the root at a time, whatever the process; waits. The root is there.
Result<Fd> lock_pin_root(const std::string& pin_root);
// What is pinned takes the place of what path has, at once: whoever is killed leaves the one or the other.
Status pin_over(int fd, const std::string& path);
// The same in two steps, for several that take their places together; and what waits for the second one.
Status pin_aside(int fd, const std::string& path);
Status take_place(const std::string& path);
void remove_aside(const std::string& dir);
// Removes what we pin in dir. Nothing there is no error.
Status unpin(const std::string& dir);
// Removes all that is in dir, whoever pinned it, and dir.
Status remove_pins(const std::string& dir);

// What is in dir and not of this version; sorted.
struct UnknownPins {
    std::vector<std::string> maps;    // of another version, by their looks: pinned by their own names
    std::vector<std::string> others;  // anything
};
Result<UnknownPins> unknown_pins(const std::string& dir);
// Whatever they are.
Status remove_unknown(const std::string& dir, const std::vector<std::string>& names);

}  // namespace millrace::steering
