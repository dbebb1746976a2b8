// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/tap.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <memory>

namespace millrace::dataplane {

namespace {

template <auto Release>
struct With {
    template <class T>
    void operator()(T* p) const {
        Release(p);
    }
};
using Socket = std::unique_ptr<nl_sock, With<nl_socket_free>>;
using Link = std::unique_ptr<rtnl_link, With<rtnl_link_put>>;
using Qdisc = std::unique_ptr<rtnl_qdisc, With<rtnl_qdisc_put>>;
using Message = std::unique_ptr<nl_msg, With<nlmsg_free>>;

constexpr uint32_t ingress_handle = TC_H_MAKE(TC_H_INGRESS, 0);

// "mr-eth0"; a port name too long for that (IFNAMSIZ) gives its index.
std::string tap_name(const std::string& port, unsigned ifindex) {
    const std::string name = "mr-" + port;
    return name.size() < IFNAMSIZ ? name : "mr-" + std::to_string(ifindex);
}

// Up, but nobody's to talk on: no IPv6 address of its own, no ARP.
int bring_up(nl_sock* socket, const std::string& name, int ifindex) {
    // Where the kernel has no IPv6 there is no such file, and nothing to turn off.
    std::ofstream("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6") << 1;
    const Link change(rtnl_link_alloc());
    rtnl_link_set_ifindex(change.get(), ifindex);
    rtnl_link_set_flags(change.get(), IFF_UP | IFF_NOARP);
    return rtnl_link_change(socket, change.get(), change.get(), 0);
}

int add_ingress(nl_sock* socket, int ifindex) {
    const Qdisc qdisc(rtnl_qdisc_alloc());
    rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), ifindex);
    rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_INGRESS);
    rtnl_tc_set_handle(TC_CAST(qdisc.get()), ingress_handle);
    if (const int error = rtnl_tc_set_kind(TC_CAST(qdisc.get()), "ingress"); error < 0) {
        return error;
    }
    return rtnl_qdisc_add(socket, qdisc.get(), NLM_F_CREATE | NLM_F_EXCL);
}

// Closes nested attributes when it goes.
class Nest {
  public:
    Nest(nl_msg* message, int type) : message_(message), start_(nla_nest_start(message, type)) {}
    ~Nest() { nla_nest_end(message_, start_); }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

  private:
    nl_msg* message_;
    nlattr* start_;
};

// Everything that arrives on ifindex goes into the ingress of target. mirred, and not a BPF redirect: that
// would run generic XDP again, and so loop. Written out, since libnl 3.7 has mirred for egress only.
int add_redirect(nl_sock* socket, int ifindex, int target) {
    const Message message(nlmsg_alloc_simple(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL));
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = ifindex;
    header.tcm_parent = ingress_handle;
    header.tcm_info = TC_H_MAKE(1U << 16, htons(ETH_P_ALL));  // priority 1
    nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message.get(), TCA_KIND, "u32");
    {
        const Nest options(message.get(), TCA_OPTIONS);
        // A selector and, behind it, one key whose zero mask matches every packet.
        alignas(tc_u32_sel) std::array<std::byte, sizeof(tc_u32_sel) + sizeof(tc_u32_key)> match_all{};
        auto* selector = reinterpret_cast<tc_u32_sel*>(match_all.data());
        selector->flags = TC_U32_TERMINAL;
        selector->nkeys = 1;
        nla_put(message.get(), TCA_U32_SEL, match_all.size(), match_all.data());
        const Nest actions(message.get(), TCA_U32_ACT);
        const Nest first(message.get(), 1);
        nla_put_string(message.get(), TCA_ACT_KIND, "mirred");
        const Nest parameters(message.get(), TCA_ACT_OPTIONS);
        tc_mirred mirred{};
        mirred.eaction = TCA_INGRESS_REDIR;
        mirred.action = TC_ACT_STOLEN;
        mirred.ifindex = static_cast<uint32_t>(target);
        nla_put(message.get(), TCA_MIRRED_PARMS, sizeof(mirred), &mirred);
    }
    // A message of 4096 bytes has room for all this: the puts above can't fail.
    if (const int error = nl_send_auto(socket, message.get()); error < 0) {
        return error;
    }
    return nl_wait_for_ack(socket);
}

}  // namespace

Result<Tap> Tap::create(const std::string& port) {
    const unsigned target = if_nametoindex(port.c_str());
    if (target == 0) {
        return fail(fmt::format("port {}: no such netdev", port));
    }
    const int fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail("/dev/net/tun can't be opened; 'modprobe tun' may help", errno);
    }
    Tap tap(fd, tap_name(port, target));
    ifreq request{};
    tap.name_.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        return fail(
            fmt::format("TAP {} can't be made (does another millraced serve port {}?)", tap.name_, port),
            errno);
    }
    const int ifindex = static_cast<int>(if_nametoindex(tap.name_.c_str()));
    const Socket socket(nl_socket_alloc());
    int error = nl_connect(socket.get(), NETLINK_ROUTE);
    if (error == 0) {
        error = bring_up(socket.get(), tap.name_, ifindex);
    }
    if (error == 0) {
        error = add_ingress(socket.get(), ifindex);
    }
    if (error == 0) {
        error = add_redirect(socket.get(), ifindex, static_cast<int>(target));
    }
    if (error < 0) {
        return fail(
            fmt::format("TAP {}: no redirect into port {}: {} (the kernel needs sch_ingress, cls_u32 and "
                        "act_mirred)",
                        tap.name_, port, nl_geterror(error)));
    }
    return tap;
}

Tap::~Tap() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

Status Tap::set_mac(const MacAddress& mac) {
    ifreq request{};
    name_.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::copy(mac.bytes.begin(), mac.bytes.end(), request.ifr_hwaddr.sa_data);
    if (ioctl(fd_, SIOCSIFHWADDR, &request) < 0) {
        return fail(fmt::format("TAP {}: MAC address can't be set to {}", name_, mac.text()), errno);
    }
    return {};
}

bool Tap::write(const void* frame, uint32_t bytes) const {
    return ::write(fd_, frame, bytes) == static_cast<ssize_t>(bytes);
}

}  // namespace millrace::dataplane
