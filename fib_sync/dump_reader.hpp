// SPDX-License-Identifier: BSD-3-Clause
// Reads a dump socket on a thread of its own. The kernel makes a dump within the reader's recvmsg: 1 µs a
// route, and 0.3 s without a return at the end of a million, where it looks for the local table's routes in
// the trie that this table shares with the main one (fib_table_dump). The control thread has not that time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "fib_sync/datagram.hpp"
#include "fib_sync/wake_fd.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class DumpReader {
  public:
    struct Part {
        Datagram datagram;
        std::vector<std::byte> bytes;
    };

    // socket: non-blocking, outlives this, and nobody else reads it.
    static Result<std::unique_ptr<DumpReader>> start(int socket);
    // Ends the thread; waits for the read it is in.
    ~DumpReader();
    DumpReader(const DumpReader&) = delete;
    DumpReader& operator=(const DumpReader&) = delete;

    // Control thread. Readable while next() has something.
    [[nodiscard]] int fd() const { return readable_.fd(); }
    [[nodiscard]] std::optional<Part> next();

  private:
    DumpReader(int socket, WakeFd readable, WakeFd stop);
    void run();
    void push(Part part);

    const int socket_;
    std::mutex mutex_;
    std::condition_variable room_;
    std::deque<Part> parts_;
    WakeFd readable_;  // under the mutex
    WakeFd stop_;      // set by the destructor
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace millrace::sync
