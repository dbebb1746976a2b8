// SPDX-License-Identifier: BSD-3-Clause
// The way back to the kernel: a TAP for each port, whose ingress tc redirects into the ingress of the port.
// What is written to it arrives in the stack as if it had come in on the port itself, past the classifier.
//
// Its MAC is its own, the same for a port each time, and never the port's: what configures netdevs by MAC
// would take it for the port.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

// What somebody has done to a TAP: what is written to it is lost, or refused.
enum class TapFault : uint8_t { none, gone, down, no_redirect };
const char* text_of(TapFault fault);  // "was set down"

class Tap {
  public:
    // port: the netdev to redirect into. The TAP goes when the object, or the process, goes. Any
    // thread.
    static Result<Tap> create(const std::string& port);
    ~Tap();
    Tap(Tap&& other) noexcept;
    Tap(const Tap&) = delete;
    Tap& operator=(const Tap&) = delete;
    Tap& operator=(Tap&&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    // frame: whole, layer 2 first. false: the kernel refused it. One thread at a time.
    [[nodiscard]] bool write(const void* frame, uint32_t bytes) const;

    // One thread at a time, beside write(); both wait for whoever holds the kernel's network configuration.
    // Error: nothing is known.
    [[nodiscard]] Result<TapFault> check() const;
    // Error: it can't be set up.
    Status set_up() const;
    // Makes the device anew behind the same descriptor: frames that are written meanwhile are refused.
    Status make_again();

  private:
    explicit Tap(std::string port) : port_(std::move(port)) {}
    Status make();
    int fd_ = -1;
    std::string port_;
    std::string name_;
    Ifindex ifindex_{};
    Ifindex target_{};
};

}  // namespace millrace::dataplane
