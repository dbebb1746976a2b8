// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/redirect.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/tc_act/tc_skbedit.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <functional>
#include <memory>

#include "steering_bpf/fd.hpp"

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
constexpr uint32_t first_priority = 1U << 16;

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

// mirred, and not a BPF redirect: that would run generic XDP again, and so loop. Written out, since libnl 3.7
// has mirred for egress only. order: of the action in its list, from 1.
void put_mirred(nl_msg* message, int order, Ifindex target) {
    const Nest action(message, order);
    nla_put_string(message, TCA_ACT_KIND, "mirred");
    const Nest parameters(message, TCA_ACT_OPTIONS);
    tc_mirred mirred{};
    mirred.eaction = TCA_INGRESS_REDIR;
    mirred.action = TC_ACT_STOLEN;
    mirred.ifindex = raw(target);
    nla_put(message, TCA_MIRRED_PARMS, sizeof(mirred), &mirred);
}

void put_skbedit_host(nl_msg* message, int order) {
    const Nest action(message, order);
    nla_put_string(message, TCA_ACT_KIND, "skbedit");
    const Nest parameters(message, TCA_ACT_OPTIONS);
    tc_skbedit skbedit{};
    skbedit.action = TC_ACT_PIPE;
    nla_put(message, TCA_SKBEDIT_PARMS, sizeof(skbedit), &skbedit);
    nla_put_u16(message, TCA_SKBEDIT_PTYPE, PACKET_HOST);
}

// A message of 4096 bytes has room for all this: the puts can't fail.
int add_filter(nl_sock* socket, Ifindex tap, const char* kind, const std::function<void(nl_msg*)>& options) {
    const Message message(nlmsg_alloc_simple(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL));
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = static_cast<int>(raw(tap));
    header.tcm_parent = ingress_handle;
    header.tcm_info = TC_H_MAKE(first_priority, htons(ETH_P_ALL));
    nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message.get(), TCA_KIND, kind);
    {
        const Nest nest(message.get(), TCA_OPTIONS);
        options(message.get());
    }
    if (const int error = nl_send_auto(socket, message.get()); error < 0) {
        return error;
    }
    return nl_wait_for_ack(socket);
}

// A program that matches every frame, and says that it is for this host: the TAP's MAC is not the port's.
int add_bpf_redirect(nl_sock* socket, Ifindex tap, Ifindex target) {
    const std::array<bpf_insn, 4> to_host = {
        {{.code = BPF_ALU64 | BPF_MOV | BPF_K,
          .dst_reg = BPF_REG_2,
          .src_reg = 0,
          .off = 0,
          .imm = PACKET_HOST},
         {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_skb_change_type},
         {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = -1},
         {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}}};
    const steering::Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "to_host", "Dual BSD/GPL",
                                             to_host.data(), to_host.size(), nullptr));
    if (!program) {
        return -NLE_OPNOTSUPP;
    }
    return add_filter(socket, tap, "bpf", [&](nl_msg* message) {
        nla_put_u32(message, TCA_BPF_FD, static_cast<uint32_t>(program.get()));
        nla_put_string(message, TCA_BPF_NAME, "millrace_to_host");
        const Nest actions(message, TCA_BPF_ACT);
        put_mirred(message, 1, target);
    });
}

// The same where the kernel has no cls_bpf.
int add_u32_redirect(nl_sock* socket, Ifindex tap, Ifindex target) {
    return add_filter(socket, tap, "u32", [&](nl_msg* message) {
        // A selector and, behind it, one key whose zero mask matches every packet.
        alignas(tc_u32_sel) std::array<std::byte, sizeof(tc_u32_sel) + sizeof(tc_u32_key)> match_all{};
        auto* selector = reinterpret_cast<tc_u32_sel*>(match_all.data());
        selector->flags = TC_U32_TERMINAL;
        selector->nkeys = 1;
        nla_put(message, TCA_U32_SEL, match_all.size(), match_all.data());
        const Nest actions(message, TCA_U32_ACT);
        put_skbedit_host(message, 1);
        put_mirred(message, 2, target);
    });
}

bool redirects_to(nlattr* actions, Ifindex target) {
    nlattr* action = nullptr;
    int left = 0;
    nla_for_each_nested(action, actions, left) {
        std::array<nlattr*, TCA_ACT_MAX + 1> attributes{};
        std::array<nlattr*, TCA_MIRRED_MAX + 1> mirred{};
        if (nla_parse_nested(attributes.data(), TCA_ACT_MAX, action, nullptr) < 0 ||
            attributes[TCA_ACT_KIND] == nullptr || attributes[TCA_ACT_OPTIONS] == nullptr ||
            nla_strcmp(attributes[TCA_ACT_KIND], "mirred") != 0 ||
            nla_parse_nested(mirred.data(), TCA_MIRRED_MAX, attributes[TCA_ACT_OPTIONS], nullptr) < 0 ||
            mirred[TCA_MIRRED_PARMS] == nullptr) {
            continue;
        }
        const auto* parameters = static_cast<const tc_mirred*>(nla_data(mirred[TCA_MIRRED_PARMS]));
        if (parameters->eaction == TCA_INGRESS_REDIR && parameters->ifindex == raw(target)) {
            return true;
        }
    }
    return false;
}

struct Wanted {
    Ifindex target;
    bool found = false;
};

int look_at_filter(nl_msg* message, void* argument) {
    auto& wanted = *static_cast<Wanted*>(argument);
    nlmsghdr* header = nlmsg_hdr(message);
    std::array<nlattr*, TCA_MAX + 1> attributes{};
    if (nlmsg_parse(header, sizeof(tcmsg), attributes.data(), TCA_MAX, nullptr) < 0 ||
        attributes[TCA_KIND] == nullptr || attributes[TCA_OPTIONS] == nullptr) {
        return NL_OK;
    }
    const auto* tc = static_cast<const tcmsg*>(nlmsg_data(header));
    const bool bpf = nla_strcmp(attributes[TCA_KIND], "bpf") == 0;
    const size_t actions = bpf ? size_t{TCA_BPF_ACT} : size_t{TCA_U32_ACT};
    std::array<nlattr*, std::max<int>(TCA_BPF_MAX, TCA_U32_MAX) + 1> options{};
    if (TC_H_MAJ(tc->tcm_info) == first_priority &&
        nla_parse_nested(options.data(), static_cast<int>(options.size()) - 1, attributes[TCA_OPTIONS],
                         nullptr) >= 0 &&
        options[actions] != nullptr && redirects_to(options[actions], wanted.target)) {
        wanted.found = true;
    }
    return NL_OK;
}

Result<bool> has_redirect(nl_sock* socket, Ifindex tap, Ifindex target) {
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = static_cast<int>(raw(tap));
    header.tcm_parent = ingress_handle;
    Wanted wanted{.target = target};
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, look_at_filter, &wanted);
    int error = nl_send_simple(socket, RTM_GETTFILTER, NLM_F_DUMP, &header, sizeof(header));
    if (error >= 0) {
        error = nl_recvmsgs_default(socket);
    }
    if (error < 0) {
        return fail(fmt::format("TAP can't be asked: {}", nl_geterror(error)));
    }
    return wanted.found;
}

}  // namespace

Status set_up_redirect(const std::string& tap, Ifindex tap_index, Ifindex target) {
    const Socket socket(nl_socket_alloc());
    const int ifindex = static_cast<int>(raw(tap_index));
    int error = nl_connect(socket.get(), NETLINK_ROUTE);
    if (error == 0) {
        error = add_ingress(socket.get(), ifindex);
    }
    if (error == 0 && add_bpf_redirect(socket.get(), tap_index, target) < 0) {
        error = add_u32_redirect(socket.get(), tap_index, target);
    }
    // At last: a TAP that is down refuses frames, one without a redirect takes and loses them.
    if (error >= 0) {
        error = bring_up(socket.get(), tap, ifindex);
    }
    if (error < 0) {
        return fail(fmt::format(
            "TAP {}: no redirect: {} (the kernel needs sch_ingress and act_mirred, and cls_bpf or "
            "else cls_u32 and act_skbedit)",
            tap, nl_geterror(error)));
    }
    return {};
}

Status set_link_up(const std::string& tap, Ifindex tap_index) {
    const Socket socket(nl_socket_alloc());
    int error = nl_connect(socket.get(), NETLINK_ROUTE);
    if (error == 0) {
        error = bring_up(socket.get(), tap, static_cast<int>(raw(tap_index)));
    }
    return error < 0 ? fail(fmt::format("TAP {}: can't be set up: {}", tap, nl_geterror(error))) : Status{};
}

Result<TapFault> check_redirect(Ifindex tap_index, Ifindex target) {
    const Socket socket(nl_socket_alloc());
    rtnl_link* found = nullptr;
    int error = nl_connect(socket.get(), NETLINK_ROUTE);
    if (error == 0) {
        error = rtnl_link_get_kernel(socket.get(), static_cast<int>(raw(tap_index)), nullptr, &found);
    }
    if (error == -NLE_NODEV || error == -NLE_OBJ_NOTFOUND) {
        return TapFault::gone;
    }
    if (error < 0) {
        return fail(fmt::format("TAP can't be asked: {}", nl_geterror(error)));
    }
    const Link link(found);
    if ((rtnl_link_get_flags(link.get()) & IFF_UP) == 0) {
        return TapFault::down;
    }
    const auto redirects = has_redirect(socket.get(), tap_index, target);
    if (!redirects) {
        return tl::unexpected(redirects.error());
    }
    return *redirects ? TapFault::none : TapFault::no_redirect;
}

}  // namespace millrace::dataplane
