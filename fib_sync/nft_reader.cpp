// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/nft_reader.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace millrace::sync {
namespace {

constexpr int notifications_per_read = 100'000;
constexpr uint16_t type_of(int message) {
    return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}

// A kernel without nf_tables says one of these.
bool not_there(const Error& e) {
    return e.code == EOPNOTSUPP || e.code == EINVAL || e.code == EPROTONOSUPPORT;
}

nfgenmsg header_of(uint8_t family) {
    return {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = 0};
}

void append(std::vector<std::byte>& to, Bytes value) {
    to.insert(to.end(), value.begin(), value.end());
    to.resize(NLMSG_ALIGN(to.size()));
}
void append_text(std::vector<std::byte>& to, uint16_t type, const std::string& text) {
    const nlattr head{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + text.size() + 1), .nla_type = type};
    append(to, bytes_of(head));
    append(to, std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

}  // namespace

Result<NftReader> NftReader::open() {
    constexpr std::array groups = {int{NFNLGRP_NFTABLES}};
    auto events = Exchange::open(NETLINK_NETFILTER, groups);
    auto requests = Exchange::open(NETLINK_NETFILTER);
    if (!events || !requests) {
        return tl::unexpected(events ? requests.error() : events.error());
    }
    setsockopt(events->fd(), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof(receive_buffer));
    return NftReader(std::move(*events), std::move(*requests));
}

NftReader::News NftReader::news() {
    News news;
    std::array<char, 16> head{};  // that there is one says enough: what it is about is read
    for (int i = 0; i < notifications_per_read; ++i) {
        if (recv(fd(), head.data(), head.size(), MSG_DONTWAIT) >= 0) {
            news.any = true;
        } else if (errno == ENOBUFS) {
            news.any = news.lost = true;
        } else if (errno != EINTR) {
            break;
        }
    }
    return news;
}

Result<std::optional<uint32_t>> NftReader::generation() {
    std::optional<uint32_t> generation;
    const nfgenmsg header = header_of(NFPROTO_UNSPEC);
    const Status asked = requests_.ask(type_of(NFT_MSG_GETGEN), NLM_F_ACK, bytes_of(header),
                                       [&](uint16_t type, Bytes payload) -> Status {
                                           if (type != type_of(NFT_MSG_NEWGEN)) {
                                               return {};
                                           }
                                           const auto decoded = decode_nft_generation(payload);
                                           if (!decoded) {
                                               return tl::unexpected(decoded.error());
                                           }
                                           generation = *decoded;
                                           return {};
                                       });
    if (!asked && !not_there(asked.error())) {
        return tl::unexpected(asked.error());
    }
    return generation;
}

Result<std::vector<NftBaseChain>> NftReader::chains() {
    std::vector<NftBaseChain> all;
    const nfgenmsg header = header_of(NFPROTO_UNSPEC);
    const Status asked = requests_.ask(type_of(NFT_MSG_GETCHAIN), NLM_F_DUMP, bytes_of(header),
                                       [&](uint16_t type, Bytes payload) -> Status {
                                           if (type != type_of(NFT_MSG_NEWCHAIN)) {
                                               return {};
                                           }
                                           auto decoded = decode_nft_chain(payload);
                                           if (!decoded) {
                                               return tl::unexpected(decoded.error());
                                           }
                                           if (*decoded) {
                                               all.push_back(std::move(**decoded));
                                           }
                                           return {};
                                       });
    if (!asked && !not_there(asked.error())) {
        return tl::unexpected(asked.error());
    }
    return all;
}

Result<bool> NftReader::has_rules(const NftBaseChain& chain) {
    std::vector<std::byte> request;
    append(request, bytes_of(header_of(chain.family)));
    append_text(request, NFTA_RULE_TABLE, chain.table);
    append_text(request, NFTA_RULE_CHAIN, chain.name);
    bool any = false;
    const Status asked =
        requests_.ask(type_of(NFT_MSG_GETRULE), NLM_F_DUMP, request, [&](uint16_t type, Bytes) -> Status {
            any = any || type == type_of(NFT_MSG_NEWRULE);
            return {};
        });
    if (!asked) {
        return tl::unexpected(asked.error());
    }
    return any;
}

Status NftReader::settle() {
    // An empty batch takes the lock, and lets go of it. It is done when the system call returns.
    nfgenmsg header = header_of(AF_UNSPEC);
    header.res_id = htons(NFNL_SUBSYS_NFTABLES);
    std::vector<std::byte> batch;
    for (const uint16_t type : {uint16_t{NFNL_MSG_BATCH_BEGIN}, uint16_t{NFNL_MSG_BATCH_END}}) {
        const nlmsghdr message{.nlmsg_len = NLMSG_LENGTH(sizeof(header)),
                               .nlmsg_type = type,
                               .nlmsg_flags = NLM_F_REQUEST,
                               .nlmsg_seq = 0,
                               .nlmsg_pid = 0};
        append(batch, bytes_of(message));
        append(batch, bytes_of(header));
    }
    if (send(requests_.fd(), batch.data(), batch.size(), 0) < 0) {
        return fail("nf_tables", errno);
    }
    // There is an answer only where it was refused.
    std::array<std::byte, 256> answer{};
    const ssize_t n = recv(requests_.fd(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (n > 0) {
        const auto error = read<nlmsgerr>(Bytes(answer).first(static_cast<size_t>(n)).subspan(NLMSG_HDRLEN));
        if (error && error->error != 0) {
            return fail("nf_tables: refused by the kernel", -error->error);
        }
    }
    return {};
}

}  // namespace millrace::sync
