// SPDX-License-Identifier: BSD-3-Clause
// DumpReader against the kernel: many short dumps, each over while its first part is being read.
#include "fib_sync/dump_reader.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <array>
#include <cstdio>
#include <string>

#include "fib_sync/route_socket.hpp"

namespace millrace::sync {
namespace {

constexpr int neighbours = 20'000;
constexpr int dumps = 500;

// The parts of one dump up to its end; what went wrong, if anything did.
std::string read_dump(DumpReader& reader) {
    for (bool over = false; !over;) {
        pollfd readable{.fd = reader.fd(), .events = POLLIN, .revents = 0};
        if (poll(&readable, 1, 5000) != 1) {
            return "no end within 5 s";
        }
        while (const auto part = reader.next()) {
            if (part->datagram.what == Received::failed) {
                return Error{"the reader said", part->datagram.error}.text();
            }
            for_each_message(part->bytes, [&](const nlmsghdr& header, Bytes) {
                over = over || header.nlmsg_type == NLMSG_DONE;
                return true;
            });
        }
    }
    return {};
}

struct Question {
    nlmsghdr header{};
    ifinfomsg link{};
};
struct DumpRequest {
    nlmsghdr header{};
    ndmsg neighbour{};
    nlattr head{};
    uint32_t ifindex = 0;
};
// One datagram: questions whose answers the reader is busy with, and a dump that the kernel makes at once.
struct Requests {
    std::array<Question, 8> questions{};
    DumpRequest dump{};
};

bool add_neighbours() {
    FILE* batch = popen("ip -batch -", "w");  // NOLINT(cert-env33-c)
    for (int i = 0; batch != nullptr && i < neighbours; ++i) {
        fmt::print(batch, "neigh add 10.0.{}.{} lladdr 02:00:00:00:00:01 nud permanent dev lo\n", i / 200,
                   i % 200 + 1);
    }
    return batch != nullptr && pclose(batch) == 0;
}

bool run_on(unsigned core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    return sched_setaffinity(0, sizeof(cores), &cores) == 0;
}

// The reader finds a dump running, and over when its own turn comes: then the kernel says EINVAL. A dump that
// walks many neighbours and tells none of them takes long enough for that.
TEST(DumpReader, ADumpThatEndsWhileItIsReadIsNoError) {
    if (unshare(CLONE_NEWNET) != 0) {
        GTEST_SKIP() << "needs root, for a network namespace";
    }
    ASSERT_TRUE(add_neighbours());
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    const auto socket = open_route_socket();
    ASSERT_TRUE(socket);
    const int fd = nl_socket_get_fd(socket->get());
    // On the sender's core the reader would only run when the dump is over.
    if (!run_on(1)) {
        GTEST_SKIP() << "needs two cores";
    }
    const auto reader = DumpReader::start(fd);
    ASSERT_TRUE(reader);
    ASSERT_TRUE(run_on(0));
    Requests requests;
    for (Question& q : requests.questions) {
        q.header = {.nlmsg_len = sizeof(q), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST};
        q.link.ifi_index = 1;
    }
    requests.dump.header = {.nlmsg_len = sizeof(DumpRequest),
                            .nlmsg_type = RTM_GETNEIGH,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
    requests.dump.neighbour.ndm_family = AF_INET;
    requests.dump.head = {.nla_len = sizeof(nlattr) + sizeof(uint32_t), .nla_type = NDA_IFINDEX};
    requests.dump.ifindex = 99;
    for (int i = 1; i <= dumps; ++i) {
        ASSERT_EQ(send(fd, &requests, sizeof(requests), 0), sizeof(requests));
        ASSERT_EQ(read_dump(**reader), "") << "dump " << i;
    }
    sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace millrace::sync
