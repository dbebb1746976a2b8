// SPDX-License-Identifier: BSD-3-Clause
// Which classifier a port runs.
#include <bpf/bpf.h>
#include <sys/stat.h>

#include <cerrno>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/kernel.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/state.hpp"

namespace millrace::steering {

Result<Attached> attached_by(const std::string& port, const std::string& dir, const PinnedLink& link) {
    const millrace_port_state state = read_state(dir);
    if (!in_place(state, link.program_id)) {
        return fail(
            fmt::format("port {}: its classifier is another build's, or was replaced half-way; "
                        "'millrace-steer attach {}' of this version replaces it",
                        port, port));
    }
    const auto map = open_map(dir, MapId::heartbeat);
    if (!map) {
        return tl::unexpected(map.error());
    }
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(map->get(), &info, &size) != 0) {
        return fail(fmt::format("port {}: " MILLRACE_MAP_HEARTBEAT ": no information", port), errno);
    }
    return Attached{.mode = link.mode, .program_id = link.program_id, .maps_id = info.id, .sees = state.sees};
}

bool has_pins(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    struct stat folder {};
    return dir && stat(dir->c_str(), &folder) == 0;
}

Result<Attached> attached(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    const auto link = attached_link(*dir, port);
    return link ? attached_by(port, *dir, *link) : tl::unexpected(link.error());
}

}  // namespace millrace::steering
