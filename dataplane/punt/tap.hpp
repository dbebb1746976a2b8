// SPDX-License-Identifier: BSD-3-Clause
// The way back to the kernel: a TAP for each port, whose ingress tc redirects into the ingress of the port.
// What is written to it arrives in the stack as if it had come in on the port itself, past the classifier.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

class Tap {
  public:
    // port: the netdev to redirect into. The TAP goes when the object, or the process, goes. Main thread.
    static Result<Tap> create(const std::string& port);
    ~Tap();
    Tap(Tap&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}
    Tap(const Tap&) = delete;
    Tap& operator=(const Tap&) = delete;
    Tap& operator=(Tap&&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    // Frames are to the port's MAC; a TAP with another one would have the stack discard them. Control thread.
    Status set_mac(const MacAddress& mac);
    // frame: whole, layer 2 first. false: the kernel refused it. One thread at a time.
    [[nodiscard]] bool write(const void* frame, uint32_t bytes) const;

  private:
    Tap(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
    int fd_;
    std::string name_;
};

}  // namespace millrace::dataplane
