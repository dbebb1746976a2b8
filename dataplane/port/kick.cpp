// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/port/kick.hpp"

#include <dlfcn.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace millrace::dataplane {

namespace {

// Each EBUSY is a frame less in the ring; so many are a burst, and what another has left. Of all else two
// tries take more than a burst brings.
constexpr unsigned effort_of_a_try = 32;
constexpr unsigned most_effort = 64;

struct State {
    unsigned effort = 0;
    Kicked kicked;
};
thread_local constinit State state;

// Returns the errno that the driver is to see.
int judge(int error) {
    state.kicked.dropped += error == EBUSY ? 1 : 0;
    if (error != EAGAIN && error != EBUSY && error != EINTR) {
        state.effort = 0;  // the driver gives up by itself: the netdev is down or gone
        return error;
    }
    state.kicked.unfinished = true;
    state.effort += error == EBUSY ? 1 : effort_of_a_try;
    if (state.effort < most_effort) {
        return error;
    }
    state.effort = 0;
    return ENOBUFS;
}

}  // namespace

Kicked kicked() {
    state.effort = 0;
    return std::exchange(state.kicked, Kicked{});
}

Status kicks_are_bounded() {
    if (dlsym(RTLD_DEFAULT, "send") != reinterpret_cast<void*>(&send)) {
        return fail("DPDK's driver does not call this program's send(): was it stripped of its symbols?");
    }
    return {};
}

}  // namespace millrace::dataplane

// For everybody in this process. What is no kick is not touched.
extern "C" __attribute__((visibility("default"))) ssize_t send(int fd, const void* bytes, size_t size,
                                                               int flags) {
    const ssize_t done = sendto(fd, bytes, size, flags, nullptr, 0);
    if (bytes != nullptr || size != 0 || flags != MSG_DONTWAIT) {
        return done;
    }
    if (done >= 0) {
        millrace::dataplane::state.effort = 0;
        millrace::dataplane::state.kicked.unfinished = false;
    } else {
        errno = millrace::dataplane::judge(errno);
    }
    return done;
}
