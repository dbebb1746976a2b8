// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/device.hpp"

#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "steering_bpf/fd.hpp"

namespace millrace::steering {
namespace {

// linux/netdev.h of Linux 6.3 and 6.8; Debian 12's headers don't have it.
constexpr uint8_t netdev_get = 1;                 // NETDEV_CMD_DEV_GET
constexpr uint16_t netdev_ifindex = 1;            // NETDEV_A_DEV_IFINDEX
constexpr uint16_t netdev_xdp_features = 3;       // NETDEV_A_DEV_XDP_FEATURES
constexpr uint64_t feature_zero_copy = 1U << 3U;  // NETDEV_XDP_ACT_XSK_ZEROCOPY
constexpr uint16_t netdev_rx_metadata = 5;        // NETDEV_A_DEV_XDP_RX_METADATA_FEATURES
constexpr uint64_t metadata_vlan_tag = 1U << 2U;  // NETDEV_XDP_RX_METADATA_VLAN_TAG

struct Named {
    uint32_t bit;
    std::string_view name;  // in the kernel's netdev_features_strings
};
constexpr std::array<Named, 2> tag_features = {
    {{MILLRACE_RESTORE_CTAG, "rx-vlan-hw-parse"}, {MILLRACE_RESTORE_STAG, "rx-vlan-stag-hw-parse"}}};

int ethtool(const std::string& port, void* command) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    port.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = static_cast<char*>(command);
    return ioctl(socket.get(), SIOCETHTOOL, &request) < 0 ? errno : 0;
}

// Places of the features among all, by the order of tag_features; nullopt = this kernel has none of the name.
using Places = std::array<std::optional<uint32_t>, tag_features.size()>;

// The names are the kernel's, and the same for every port: each call may wait for the lock of all netdevs.
Result<std::pair<Places, uint32_t>> feature_places(const std::string& port) {
    thread_local std::optional<std::pair<Places, uint32_t>> known;
    if (known) {
        return *known;
    }
    std::vector<std::byte> bytes(sizeof(ethtool_sset_info) + sizeof(uint32_t));
    auto* info = reinterpret_cast<ethtool_sset_info*>(bytes.data());
    info->cmd = ETHTOOL_GSSET_INFO;
    info->sset_mask = 1ULL << ETH_SS_FEATURES;
    if (const int error = ethtool(port, info); error != 0) {
        return fail(fmt::format("port {}: cannot ask for its offloads", port), error);
    }
    const uint32_t count = info->data[0];
    bytes.assign(sizeof(ethtool_gstrings) + size_t{count} * ETH_GSTRING_LEN, {});
    auto* strings = reinterpret_cast<ethtool_gstrings*>(bytes.data());
    strings->cmd = ETHTOOL_GSTRINGS;
    strings->string_set = ETH_SS_FEATURES;
    strings->len = count;
    if (const int error = ethtool(port, strings); error != 0) {
        return fail(fmt::format("port {}: cannot ask for its offloads", port), error);
    }
    Places places;
    for (uint32_t i = 0; i < count; ++i) {
        const char* text = reinterpret_cast<const char*>(strings->data) + size_t{i} * ETH_GSTRING_LEN;
        const std::string_view name(text, strnlen(text, ETH_GSTRING_LEN));
        for (size_t f = 0; f < tag_features.size(); ++f) {
            if (tag_features[f].name == name) {
                places[f] = i;
            }
        }
    }
    known = std::pair{places, count};
    return *known;
}

constexpr size_t attribute_at = NLMSG_HDRLEN;

// Sends one request and gives each attribute of the answer, which begins `skip` bytes behind the netlink
// header, to `take`. False: refused, or no such thing in this kernel.
bool ask(int protocol, uint16_t type, std::span<const std::byte> body, size_t skip,
         const std::function<void(uint16_t, std::span<const std::byte>)>& take) {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    std::vector<std::byte> request(attribute_at + body.size());
    nlmsghdr header{};
    header.nlmsg_len = static_cast<uint32_t>(request.size());
    header.nlmsg_type = type;
    header.nlmsg_flags = NLM_F_REQUEST;
    std::memcpy(request.data(), &header, sizeof(header));
    std::memcpy(request.data() + attribute_at, body.data(), body.size());
    std::array<std::byte, 1U << 15> answer{};
    // The kernel answers before send() ends, unless it has no memory to answer with.
    const timeval longest{.tv_sec = 1, .tv_usec = 0};
    if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) != 0 ||
        send(socket.get(), request.data(), request.size(), 0) < 0) {
        return false;
    }
    const ssize_t got = recv(socket.get(), answer.data(), answer.size(), 0);
    if (got < static_cast<ssize_t>(attribute_at)) {
        return false;
    }
    std::memcpy(&header, answer.data(), sizeof(header));
    if (header.nlmsg_type == NLMSG_ERROR) {
        return false;
    }
    const size_t end = std::min<size_t>(static_cast<size_t>(got), header.nlmsg_len);
    nlattr head{};
    for (size_t at = attribute_at + skip; at + sizeof(head) <= end; at += NLA_ALIGN(head.nla_len)) {
        std::memcpy(&head, answer.data() + at, sizeof(head));
        if (head.nla_len < sizeof(head) || at + head.nla_len > end) {
            return false;
        }
        take(head.nla_type & NLA_TYPE_MASK,
             std::span(answer).subspan(at + sizeof(head), head.nla_len - sizeof(head)));
    }
    return true;
}

template <class T>
T read(std::span<const std::byte> bytes) {
    T value{};
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(value)));
    return value;
}

struct GenericRequest {
    genlmsghdr generic{};
    nlattr head{};
    std::array<char, 8> value{};
};

std::optional<uint16_t> netdev_family() {
    GenericRequest request{
        .generic = {.cmd = CTRL_CMD_GETFAMILY, .version = 1, .reserved = 0},
        .head = {.nla_len = NLA_HDRLEN + sizeof("netdev"), .nla_type = CTRL_ATTR_FAMILY_NAME},
        .value = {"netdev"}};
    std::optional<uint16_t> id;
    ask(NETLINK_GENERIC, GENL_ID_CTRL, std::as_bytes(std::span(&request, 1)), GENL_HDRLEN,
        [&](uint16_t type, std::span<const std::byte> value) {
            if (type == CTRL_ATTR_FAMILY_ID) {
                id = read<uint16_t>(value);
            }
        });
    return id;
}

// An attribute of the netdev family's answer about a device, of 64 bits; 0: it is not there.
uint64_t netdev_word(Ifindex ifindex, uint16_t attribute) {
    const auto family = netdev_family();
    if (!family) {
        return 0;
    }
    GenericRequest request{.generic = {.cmd = netdev_get, .version = 1, .reserved = 0},
                           .head = {.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = netdev_ifindex}};
    const uint32_t number = raw(ifindex);
    std::memcpy(request.value.data(), &number, sizeof(number));
    uint64_t word = 0;
    ask(NETLINK_GENERIC, *family,
        std::as_bytes(std::span(&request, 1)).first(sizeof(genlmsghdr) + NLA_HDRLEN + sizeof(number)),
        GENL_HDRLEN, [&](uint16_t type, std::span<const std::byte> value) {
            word = type == attribute ? read<uint64_t>(value) : word;
        });
    return word;
}

}  // namespace

Result<TagOffload> tag_offload(const std::string& port) {
    const auto places = feature_places(port);
    if (!places) {
        return tl::unexpected(places.error());
    }
    const uint32_t blocks = (places->second + 31) / 32;
    std::vector<std::byte> bytes(sizeof(ethtool_gfeatures) + blocks * sizeof(ethtool_get_features_block));
    auto* features = reinterpret_cast<ethtool_gfeatures*>(bytes.data());
    features->cmd = ETHTOOL_GFEATURES;
    features->size = blocks;
    if (const int error = ethtool(port, features); error != 0) {
        return fail(fmt::format("port {}: cannot ask for its offloads", port), error);
    }
    TagOffload offload;
    for (size_t f = 0; f < tag_features.size(); ++f) {
        if (const auto place = places->first[f]) {
            const ethtool_get_features_block& block = features->features[*place / 32];
            const uint32_t bit = 1U << (*place % 32);
            offload.on |= (block.active & bit) != 0 ? tag_features[f].bit : 0;
            offload.changeable |=
                (block.available & ~block.never_changed & bit) != 0 ? tag_features[f].bit : 0;
        }
    }
    return offload;
}

Status switch_tag_offload(const std::string& port, uint32_t which, bool on) {
    const auto places = feature_places(port);
    if (!places) {
        return tl::unexpected(places.error());
    }
    const uint32_t blocks = (places->second + 31) / 32;
    std::vector<std::byte> bytes(sizeof(ethtool_sfeatures) + blocks * sizeof(ethtool_set_features_block));
    auto* features = reinterpret_cast<ethtool_sfeatures*>(bytes.data());
    features->cmd = ETHTOOL_SFEATURES;
    features->size = blocks;
    for (size_t f = 0; f < tag_features.size(); ++f) {
        if (const auto place = places->first[f]; place && (which & tag_features[f].bit) != 0) {
            ethtool_set_features_block& block = features->features[*place / 32];
            block.valid |= 1U << (*place % 32);
            block.requested |= on ? 1U << (*place % 32) : 0;
        }
    }
    if (const int error = ethtool(port, features); error != 0) {
        return fail(fmt::format("port {}: cannot switch VLAN offloads", port), error);
    }
    const auto now = tag_offload(port);
    if (!now) {
        return tl::unexpected(now.error());
    }
    return (now->on & which) == (on ? which : 0)
               ? Status{}
               : fail(fmt::format("port {}: its driver doesn't switch VLAN offloads", port));
}

bool has_hardware(Ifindex ifindex) {
    ifinfomsg body{};
    body.ifi_index = static_cast<int>(raw(ifindex));
    bool parent = false;
    ask(NETLINK_ROUTE, RTM_GETLINK, std::as_bytes(std::span(&body, 1)), sizeof(body),
        [&](uint16_t type, std::span<const std::byte>) { parent = parent || type == IFLA_PARENT_DEV_NAME; });
    return parent;
}

bool tells_tags(Ifindex ifindex) {
    return (netdev_word(ifindex, netdev_rx_metadata) & metadata_vlan_tag) != 0;
}

bool has_zero_copy(Ifindex ifindex) {
    return (netdev_word(ifindex, netdev_xdp_features) & feature_zero_copy) != 0;
}

std::string driver(const std::string& port) {
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    return ethtool(port, &info) == 0 ? std::string(info.driver, strnlen(info.driver, sizeof(info.driver)))
                                     : std::string();
}

}  // namespace millrace::steering
