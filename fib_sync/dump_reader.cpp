// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/dump_reader.hpp"

#include <poll.h>

#include <array>
#include <cerrno>
#include <span>
#include <utility>

namespace millrace::sync {
namespace {

// Dumps come in datagrams of up to 32 KiB (netlink_dump).
constexpr size_t buffer_size = 1U << 16;
// Enough to be ahead of the control thread: 2 MB.
constexpr size_t parts_ahead = 64;

}  // namespace

DumpReader::DumpReader(int socket, WakeFd readable, WakeFd stop)
    : socket_(socket), readable_(std::move(readable)), stop_(std::move(stop)) {}

Result<std::unique_ptr<DumpReader>> DumpReader::start(int socket) {
    auto readable = WakeFd::create();
    auto stop = WakeFd::create();
    if (!readable || !stop) {
        return tl::unexpected(readable ? stop.error() : readable.error());
    }
    std::unique_ptr<DumpReader> reader(new DumpReader(socket, std::move(*readable), std::move(*stop)));
    reader->thread_ = std::thread([r = reader.get()] { r->run(); });
    return reader;
}

DumpReader::~DumpReader() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        stop_.set(true);
    }
    room_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

std::optional<DumpReader::Part> DumpReader::next() {
    std::optional<Part> part;
    {
        const std::lock_guard lock(mutex_);
        if (parts_.empty()) {
            return part;
        }
        part = std::move(parts_.front());
        parts_.pop_front();
        readable_.set(!parts_.empty());
    }
    room_.notify_one();
    return part;
}

void DumpReader::push(Part part) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] { return stopping_ || parts_.size() < parts_ahead; });
    parts_.push_back(std::move(part));
    readable_.set(true);
}

void DumpReader::run() {
    std::vector<std::byte> buffer(buffer_size);
    std::array<pollfd, 2> fds = {pollfd{.fd = socket_, .events = POLLIN, .revents = 0},
                                 pollfd{.fd = stop_.fd(), .events = POLLIN, .revents = 0}};
    bool after_part = false;
    while (poll(fds.data(), fds.size(), -1) >= 0 || errno == EINTR) {
        if (fds[1].revents != 0) {
            return;
        }
        const Datagram datagram = receive_datagram(socket_, buffer);
        // A read also makes the dump's next part. Where the request's own call makes the last one meanwhile,
        // the kernel says EINVAL to the read that follows (netlink_dump); the dump is whole.
        const bool was_over = after_part && datagram.what == Received::failed && datagram.error == EINVAL;
        after_part = datagram.what == Received::datagram;
        if (datagram.what != Received::nothing && !was_over) {
            const auto bytes = std::span(buffer).first(datagram.size);
            push({.datagram = datagram, .bytes = {bytes.begin(), bytes.end()}});
        }
    }
}

}  // namespace millrace::sync
