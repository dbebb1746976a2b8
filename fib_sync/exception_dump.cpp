// SPDX-License-Identifier: BSD-3-Clause
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "fib_sync/datagram.hpp"
#include "fib_sync/exceptions.hpp"
#include "fib_sync/route_socket.hpp"

namespace millrace::sync {
namespace {

constexpr int answer_ms = 10'000;
constexpr int poll_ms = 50;  // until the end is noticed

uint64_t cpu_ms() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1'000'000;
}

// All of one family. A socket for each dump: what is left of one that failed goes with it.
Status dump(Family family, std::vector<std::byte>& buffer, std::vector<Exception>& found,
            const std::atomic<bool>& stop) {
    auto socket = open_route_socket();
    if (!socket) {
        return tl::unexpected(socket.error());
    }
    const int fd = nl_socket_get_fd(socket->get());
    const DumpKind kind = family == Family::ipv4 ? DumpKind::routes4 : DumpKind::routes6;
    if (auto sent = send_dump_request(fd, kind, 1, {.exceptions = true}); !sent) {
        return sent;
    }
    Status result;
    int silent_ms = 0;
    for (bool last = false; !last && !stop;) {
        pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
        if (poll(&readable, 1, poll_ms) == 0) {
            silent_ms += poll_ms;
            if (silent_ms >= answer_ms) {
                return fail("no answer", ETIMEDOUT);
            }
            continue;
        }
        silent_ms = 0;
        const Datagram datagram = receive_datagram(fd, buffer);
        if (datagram.what == Received::lost || datagram.what == Received::failed) {
            return fail("answer", datagram.error);
        }
        for_each_message(Bytes(buffer).first(datagram.size), [&](const nlmsghdr& header, Bytes message) {
            if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
                last = true;
                if (const int code = error_of(message); code != 0 && result) {
                    result = fail("refused by the kernel", code);
                }
                return false;
            }
            auto decoded = decode_exception(message);
            if (!decoded) {
                result = result ? tl::unexpected(decoded.error()) : result;
            } else if (*decoded) {
                found.push_back(std::move(**decoded));
            }
            return true;
        });
    }
    return result;
}

}  // namespace

Result<std::unique_ptr<ExceptionDump>> ExceptionDump::start() {
    auto done = WakeFd::create();
    if (!done) {
        return tl::unexpected(done.error());
    }
    std::unique_ptr<ExceptionDump> made(new ExceptionDump(std::move(*done)));
    made->thread_ = std::thread([d = made.get()] { d->run(); });
    pthread_setname_np(made->thread_.native_handle(), "millrace-learn");
    return made;
}

ExceptionDump::~ExceptionDump() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wanted_.notify_one();
    thread_.join();
}

void ExceptionDump::request() {
    {
        const std::lock_guard lock(mutex_);
        begin_ = true;
    }
    wanted_.notify_one();
}

std::optional<ExceptionDump::Answer> ExceptionDump::take() {
    const std::lock_guard lock(mutex_);
    done_.set(false);
    return std::exchange(answer_, std::nullopt);
}

void ExceptionDump::run() {
    std::vector<std::byte> buffer(size_t{2} * dump_datagram);
    std::unique_lock lock(mutex_);
    while (true) {
        wanted_.wait(lock, [this] { return begin_ || stop_; });
        if (stop_) {
            return;
        }
        begin_ = false;
        lock.unlock();
        std::vector<Exception> found;
        Status all;
        const uint64_t begin = cpu_ms();
        for (const Family family : {Family::ipv4, Family::ipv6}) {
            if (auto one = dump(family, buffer, found, stop_); !one && all) {
                all = one;
            }
        }
        lock.lock();
        answer_ = Answer{.exceptions = all ? Result<std::vector<Exception>>(std::move(found))
                                           : tl::unexpected(all.error()),
                         .cpu_ms = cpu_ms() - begin};
        done_.set(true);
    }
}

}  // namespace millrace::sync
