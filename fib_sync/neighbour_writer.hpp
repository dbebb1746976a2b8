// SPDX-License-Identifier: BSD-3-Clause
// Sends neighbour requests to the kernel from a thread of its own: RTM_NEWNEIGH waits for the RTNL lock,
// which may be held for as long as it takes to flush a million routes, and the control thread must not wait
// so long.
#pragma once

#include <netlink/socket.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "fib_sync/neighbour_care.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class NeighbourWriter : public NeighbourRequests {
  public:
    // The socket sees the network namespace of the calling thread, for ever. Error: no socket.
    static Result<std::unique_ptr<NeighbourWriter>> open();
    // Requests that were not sent yet are dropped.
    ~NeighbourWriter() override;

    // Control thread.
    bool submit(const NeighbourRequest& request) override;
    // Waits until all is sent, but no longer than the time given.
    void drain(uint64_t milliseconds);

    // Does the kernel know NTF_EXT_MANAGED (Linux 5.16)? Asked once, in open().
    [[nodiscard]] bool managed_entries() const { return managed_entries_; }
    // Requests that the kernel refused, but for entries and links that are gone. Any thread.
    [[nodiscard]] uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

  private:
    struct SocketFree {
        void operator()(nl_sock* s) const { nl_socket_free(s); }
    };
    using Socket = std::unique_ptr<nl_sock, SocketFree>;

    explicit NeighbourWriter(Socket socket) : socket_(std::move(socket)) {}
    [[nodiscard]] bool probe_managed();
    void run();
    // The kernel's answer: 0 or an errno.
    int send(const NeighbourRequest& request);
    int send(void* message, size_t size);
    void note(const NeighbourRequest& request, int error);

    Socket socket_;
    uint32_t sequence_ = 0;
    bool managed_entries_ = false;
    std::set<std::pair<NeighbourRequest::Kind, int>> said_;
    std::atomic<uint64_t> refused_{0};

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<NeighbourRequest> queue_;
    bool sending_ = false;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace millrace::sync
