// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/kernel.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <fstream>

#include "millrace/abi.h"

namespace millrace::steering {

// Over netlink: asked for a missing netdev by ioctl, as if_nametoindex() does, the kernel looks for a module
// of that name, with a process of its own each time.
Result<Ifindex> netdev_index(const std::string& name) {
    if (name.size() >= IFNAMSIZ) {
        return fail(fmt::format("netdev {}: no netdev can have this name", name), ENODEV);
    }
    struct {
        nlmsghdr header{};
        ifinfomsg link{};
        nlattr name_head{};
        std::array<char, IFNAMSIZ> name{};
    } request;
    request.header.nlmsg_len = sizeof(request);
    request.header.nlmsg_type = RTM_GETLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.name_head = {.nla_len = sizeof(nlattr) + IFNAMSIZ, .nla_type = IFLA_IFNAME};
    name.copy(request.name.data(), IFNAMSIZ - 1);
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct {
        nlmsghdr header{};
        union {
            nlmsgerr error{};
            ifinfomsg link;
        };
    } answer;
    if (!socket || send(socket.get(), &request, sizeof(request), 0) < 0 ||
        recv(socket.get(), &answer, sizeof(answer), 0) < 0) {  // the rest of a long answer is of no interest
        return fail(fmt::format("netdev {}: cannot be looked up", name), errno);
    }
    if (answer.header.nlmsg_type == NLMSG_ERROR) {
        return fail(fmt::format("netdev {}: cannot be looked up", name), -answer.error.error);
    }
    return Ifindex{static_cast<uint32_t>(answer.link.ifi_index)};
}

// The kernel takes an altname for a netdev's name, but tells only its name: a port must be called what the
// kernel's messages call it.
Result<Ifindex> find_netdev(const std::string& port) {
    const auto found = netdev_index(port);
    if (!found) {
        return found.error().code == ENODEV
                   ? fail(fmt::format("port {}: no such netdev; 'ip link' lists them", port))
                   : tl::unexpected(found.error());
    }
    std::array<char, IF_NAMESIZE> name{};
    if (if_indextoname(raw(*found), name.data()) != nullptr && port != name.data()) {
        return fail(fmt::format("port {}: that is another name (altname) of {}; use '{}'", port, name.data(),
                                name.data()));
    }
    return *found;
}

Result<std::optional<XdpProgram>> xdp_program(const std::string& port, Ifindex ifindex) {
    LIBBPF_OPTS(bpf_xdp_query_opts, found);
    const int error = bpf_xdp_query(static_cast<int>(raw(ifindex)), 0, &found);
    if (error != 0) {
        return fail(fmt::format("port {}: cannot ask for its XDP program", port), -error);
    }
    // The mode of a single program is in attach_mode, the ids of several in their own fields.
    if (found.drv_prog_id != 0) {
        return XdpProgram{found.drv_prog_id, Mode::native};
    }
    if (found.skb_prog_id != 0) {
        return XdpProgram{found.skb_prog_id, Mode::generic};
    }
    if (found.hw_prog_id != 0) {
        return XdpProgram{found.hw_prog_id, Mode::offload};
    }
    return std::optional<XdpProgram>{};
}

std::string program_name(uint32_t id) {
    const Fd fd(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0 || info.name[0] == '\0') {
        return "?";
    }
    return info.name;
}

bool is_bpf(int fd, const std::string& kind) {
    std::ifstream about(fmt::format("/proc/self/fdinfo/{}", fd));
    for (std::string line; std::getline(about, line);) {
        if (line.starts_with(kind + "_type:")) {
            return true;
        }
    }
    return false;
}

Result<PinnedLink> pinned_link(const std::string& path, const std::string& port) {
    PinnedLink link;
    link.fd = Fd(bpf_obj_get(path.c_str()));
    if (!link.fd) {
        if (errno == ENOENT) {
            return link;
        }
        return fail(fmt::format("{}: cannot open", path), errno);
    }
    bpf_link_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(link.fd.get(), &info, &size) != 0) {
        return fail(fmt::format("{}: no information", path), errno);
    }
    if (!is_bpf(link.fd.get(), "link") || info.type != BPF_LINK_TYPE_XDP) {
        return fail(fmt::format("{}: not an XDP link", path));
    }
    link.program_id = info.prog_id;
    link.ifindex = Ifindex{info.xdp.ifindex};
    if (raw(link.ifindex) == 0) {
        link.state = PinnedLink::State::gone;
        return link;
    }
    link.state = PinnedLink::State::elsewhere;
    if (netdev_index(port).value_or(Ifindex{}) != link.ifindex) {
        return link;
    }
    // Another namespace may use the same index: the program on the port decides.
    auto program = xdp_program(port, link.ifindex);
    if (!program) {
        return tl::unexpected(program.error());
    }
    if (*program && (*program)->id == link.program_id) {
        link.state = PinnedLink::State::attached;
        link.mode = (*program)->mode;
    }
    return link;
}

Result<PinnedLink> attached_link(const std::string& dir, const std::string& port) {
    auto link = pinned_link(dir + "/" MILLRACE_PIN_LINK, port);
    if (!link) {
        return link;
    }
    switch (link->state) {
        case PinnedLink::State::none:
            return fail(
                fmt::format("port {}: no classifier attached; run 'millrace-steer attach {}'", port, port));
        case PinnedLink::State::gone:
            return fail(
                fmt::format("port {}: its classifier was detached, or its netdev deleted; run "
                            "'millrace-steer attach {}'",
                            port, port));
        case PinnedLink::State::elsewhere:
            return fail(
                fmt::format("port {}: its classifier is attached to another netdev (ifindex {}: "
                            "renamed, or in another network namespace)",
                            port, raw(link->ifindex)));
        case PinnedLink::State::attached:
            break;
    }
    return link;
}

}  // namespace millrace::steering
