// SPDX-License-Identifier: BSD-3-Clause
// What the kernel has learned by ICMP about single hosts: path MTUs (RFC 1191, RFC 8201) and redirects. It
// holds for the kernel's transit too, as exceptions to a route, which the fast path doesn't know: such hosts
// are left to the kernel.
//
// There are no notifications of exceptions. But they come from ICMP messages to the router itself, and a raw
// socket sees each of these before the kernel acts on it. So a host is kept from the first message about it
// on, and a dump of the exceptions a moment later says whether the kernel has believed it, and for how long.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "fib_sync/attributes.hpp"
#include "fib_sync/background.hpp"
#include "millrace/keep.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

struct Exception {
    IpAddress host{};
    uint64_t lifetime_ms = 0;
    std::string text{};  // "path MTU 1400, learned by ICMP"

    bool operator==(const Exception&) const = default;
};

// The host that an ICMP message is about, where it may make an exception; nullopt where it can't, or is
// malformed. message: as a raw socket gives it, for IPv4 with the IP header. Pure.
[[nodiscard]] std::optional<IpAddress> exception_subject(Family family, Bytes message);
// A route message of a dump; nullopt where it is no exception. Error: malformed. Pure.
[[nodiscard]] Result<std::optional<Exception>> decode_exception(Bytes one_message);

// All that there are, whether or not a family failed. The kernel looks for them at each of its routes within
// one system call, which takes a fraction of a second with a full table: not for the control thread.
// stop: gives up within milliseconds. The socket sees the network namespace of the calling thread.
[[nodiscard]] Result<std::vector<Exception>> dump_exceptions(const std::atomic<bool>& stop);

// Control thread only. Time is in milliseconds of the caller's monotonic clock.
class ExceptionWatch {
  public:
    // The sockets see the network namespace of the calling thread. Error: no raw sockets (CAP_NET_RAW).
    static Result<ExceptionWatch> open();

    // The same for life; readable (EPOLLIN) = call on_readable(), then refresh().
    [[nodiscard]] std::vector<int> fds() const;
    void on_readable(uint64_t now);
    void refresh(uint64_t now);
    [[nodiscard]] uint64_t next_deadline_ms() const;

    // Has the kernel been asked at least once?
    [[nodiscard]] bool known() const { return known_; }
    // Sorted. Counts their changes.
    [[nodiscard]] std::vector<Keep> keeps() const;
    [[nodiscard]] uint64_t version() const { return version_; }

  private:
    struct Socket {
        Family family;
        int fd = -1;
        uint32_t lost = 0;  // messages, as the kernel counts them
        Socket(Family f, int descriptor) : family(f), fd(descriptor) {}
        Socket(Socket&& other) noexcept;
        Socket(const Socket&) = delete;
        Socket& operator=(const Socket&) = delete;
        Socket& operator=(Socket&&) = delete;
        ~Socket();
    };
    struct Kept {
        uint64_t until = 0;   // milliseconds; as the last dump told
        uint64_t heard = 0;   // the last message
        unsigned unseen = 0;  // dumps since a message came that have not told it
        std::string text{};
    };

    using Dump = Background<std::monostate, Result<std::vector<Exception>>>;

    ExceptionWatch() = default;
    static Status open_socket(Family family, std::vector<Socket>& sockets);
    void read(Socket& socket, uint64_t now);
    void about(const IpAddress& host, uint64_t now);
    void lose(Family family);
    void apply(const std::vector<Exception>& exceptions, uint64_t now);
    void look_soon(uint64_t now);

    std::vector<Socket> sockets_;
    std::unique_ptr<Dump> dump_;
    std::map<IpAddress, Kept> hosts_;
    bool known_ = false;
    // By family: messages that nobody has seen. Everything is kept until a dump has told.
    std::array<bool, 2> lost_{};
    std::array<bool, 2> lost_while_dumping_{};
    uint64_t began_ = 0;    // the dump under way, or the last one
    uint64_t dump_at_ = 0;  // the next one
    uint64_t rest_until_ = 0;
    uint64_t version_ = 0;
};

}  // namespace millrace::sync
