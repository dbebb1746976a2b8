// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/pins.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>

#include "millrace/abi.h"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/kernel.hpp"
#include "steering_bpf/maps.hpp"

namespace millrace::steering {
namespace {

namespace fs = std::filesystem;

constexpr const char* fresh = "_new";  // behind a pin's name, until it takes its place
constexpr const char* standard_bpffs = "/sys/fs/bpf";

bool on_bpffs(const fs::path& path) {
    struct statfs info {};
    return statfs(path.c_str(), &info) == 0 && static_cast<uint32_t>(info.f_type) == BPF_FS_MAGIC;
}

// A mount namespace of one's own (`ip netns exec`, a unit with a private /tmp): what is mounted and pinned
// there vanishes with it, and detaches. Where we may not look, we trust.
bool in_private_mount_namespace() {
    struct stat own {};
    struct stat first {};
    return stat("/proc/self/ns/mnt", &own) == 0 && stat("/proc/1/ns/mnt", &first) == 0 &&
           own.st_ino != first.st_ino;
}

Status mount_bpffs() {
    // Ports are attached at the same time while booting: a second mount would hide the first one's pins.
    const Fd lock(open("/sys/fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock || flock(lock.get(), LOCK_EX) != 0) {
        return fail("/sys/fs: cannot lock", errno);
    }
    if (on_bpffs(standard_bpffs)) {
        return {};
    }
    if (in_private_mount_namespace()) {
        return fail(
            fmt::format("{} is no bpf filesystem in this mount namespace, and one mounted here would vanish "
                        "with it; instead of 'ip netns exec NAME' use 'nsenter --net=/run/netns/NAME'",
                        standard_bpffs));
    }
    if (mount("bpf", standard_bpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
        return fail(fmt::format("{}: cannot mount a bpf filesystem", standard_bpffs), errno);
    }
    return {};
}

std::set<std::string> known_names() {
    std::set<std::string> names = {MILLRACE_PIN_LINK, std::string(MILLRACE_PIN_LINK) + fresh};
    for (const MapSpec& map : map_specs) {
        names.insert(map.name);
        names.insert(std::string(map.name) + fresh);
    }
    return names;
}

// Or the name with which it waits for its place.
bool is_map_called(const std::string& path, const std::string& name) {
    const Fd fd(bpf_obj_get(path.c_str()));
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (!fd || !is_bpf(fd.get(), "map") || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
        return false;
    }
    const std::string called = info.name;
    return name.substr(0, BPF_OBJ_NAME_LEN - 1) == called || name == called + fresh;
}

bool below(const fs::path& path, const fs::path& folder) {
    return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

}  // namespace

Result<std::string> pin_dir(const std::string& pin_root, const std::string& port) {
    // The kernel's dev_valid_name().
    if (port.empty() || port.size() >= IFNAMSIZ || port == "." || port == ".." ||
        port.find_first_of("/: \t\n\v\f\r") != std::string::npos) {
        return fail(fmt::format("port '{}': no netdev can have this name", port));
    }
    std::string folder = port;
    std::replace(folder.begin(), folder.end(), '.', ':');
    return pin_root + "/" + folder;
}

Result<std::vector<std::string>> pinned_ports(const std::string& pin_root) {
    std::vector<std::string> ports;
    std::error_code error;
    for (fs::directory_iterator it(pin_root, error), end; !error && it != end; it.increment(error)) {
        if (it->is_directory(error)) {  // bpffs has files of its own in its root
            std::string port = it->path().filename();
            std::replace(port.begin(), port.end(), ':', '.');
            ports.push_back(std::move(port));
        }
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return fail(fmt::format("{}: cannot list", pin_root), error.value());
    }
    std::sort(ports.begin(), ports.end());
    return ports;
}

Status prepare_pin_root(const std::string& pin_root) {
    const fs::path root = fs::path(pin_root).lexically_normal();
    if (below(root, standard_bpffs) && !on_bpffs(standard_bpffs)) {
        if (auto mounted = mount_bpffs(); !mounted) {
            return mounted;
        }
    }
    fs::path existing = root;
    std::error_code error;
    while (!existing.empty() && existing != existing.root_path() && !fs::exists(existing, error)) {
        existing = existing.parent_path();
    }
    if (!on_bpffs(existing)) {
        return fail(fmt::format("pin root {}: not on a bpf filesystem; 'mkdir -p {} && mount -t bpf bpf {}'",
                                pin_root, pin_root, pin_root));
    }
    fs::create_directories(root, error);
    if (error) {
        return fail(fmt::format("pin root {}: cannot make it", pin_root), error.value());
    }
    return {};
}

Result<Fd> lock_pin_root(const std::string& pin_root) {
    Fd lock(open(pin_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock || flock(lock.get(), LOCK_EX) != 0) {
        return fail(fmt::format("pin root {}: cannot lock", pin_root), errno);
    }
    return lock;
}

Status pin_aside(int fd, const std::string& path) {
    const std::string aside = path + fresh;
    if (unlink(aside.c_str()) != 0 && errno != ENOENT) {
        return fail(fmt::format("{}: cannot remove", aside), errno);
    }
    return bpf_obj_pin(fd, aside.c_str()) == 0 ? Status{} : fail(fmt::format("{}: cannot pin", path), errno);
}

Status take_place(const std::string& path) {
    return rename((path + fresh).c_str(), path.c_str()) == 0
               ? Status{}
               : fail(fmt::format("{}: cannot pin", path), errno);
}

Status pin_over(int fd, const std::string& path) {
    const Status aside = pin_aside(fd, path);
    return aside ? take_place(path) : aside;
}

void remove_aside(const std::string& dir) {
    for (const MapSpec& map : map_specs) {
        unlink(fmt::format("{}/{}{}", dir, map.name, fresh).c_str());
    }
}

Status unpin(const std::string& dir) {
    for (const std::string& name : known_names()) {
        const std::string path = fmt::format("{}/{}", dir, name);
        if (unlink(path.c_str()) != 0 && errno != ENOENT) {
            return fail(fmt::format("{}: cannot remove", path), errno);
        }
    }
    return {};
}

Status remove_pins(const std::string& dir) {
    std::error_code error;
    fs::remove_all(dir, error);
    return error ? fail(fmt::format("{}: cannot remove", dir), error.value()) : Status{};
}

Result<UnknownPins> unknown_pins(const std::string& dir) {
    UnknownPins found;
    const std::set<std::string> known = known_names();
    std::error_code error;
    for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
        const std::string name = it->path().filename();
        if (!known.contains(name)) {
            (is_map_called(it->path(), name) ? found.maps : found.others).push_back(name);
        }
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return fail(fmt::format("{}: cannot list", dir), error.value());
    }
    std::sort(found.maps.begin(), found.maps.end());
    std::sort(found.others.begin(), found.others.end());
    return found;
}

Status remove_unknown(const std::string& dir, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        std::error_code error;
        fs::remove_all(fmt::format("{}/{}", dir, name), error);
        if (error) {
            return fail(fmt::format("{}/{}: cannot remove", dir, name), error.value());
        }
    }
    return {};
}

}  // namespace millrace::steering
