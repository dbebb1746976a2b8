// SPDX-License-Identifier: BSD-3-Clause
// The mirror and its resyncs beside a naive kernel; messages and dumps go from one to the other when told to.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "kernel_model.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {

class ModelTransport : public Transport {
  public:
    Status start_dump(DumpKind kind) override {
        running = kind;
        return {};
    }
    void abandon_dump() override { running.reset(); }
    std::optional<DumpKind> running;
};

class World {
  public:
    explicit World(uint64_t seed, size_t slice = 2048)
        : kernel(seed), sync(mirror, transport, SyncOptions{.queue_limit = 100, .slice = slice}) {
        sync.start(now);
    }

    void deliver(size_t n) {
        for (; n > 0 && !kernel.messages.empty(); --n) {
            sync.notification(kernel.messages.front(), now);
            kernel.messages.pop_front();
        }
        sync.end_batch(now);
    }
    void answer(bool interrupted) {
        if (transport.running) {
            const auto table = kernel.dump(*transport.running);
            for (const Message& m : table) {
                sync.dump_message(m, now);
            }
            deliver(SIZE_MAX);
            if (std::exchange(transport.running, std::nullopt)) {
                sync.dump_done(interrupted, now);
            }
        }
    }
    void lose() {
        kernel.messages.clear();
        sync.overrun(now);
    }
    void tick(uint64_t ms) {
        slices += sync.state() == SyncState::applying ? 1 : 0;
        sync.tick(now += ms);
    }
    // The kernel's, but for what a dump can't tell: the mirror leaves that to it.
    [[nodiscard]] std::map<Prefix, std::string> expected() const {
        auto fib = kernel.fib();
        for (auto& [prefix, outcome] : fib) {
            const PrefixEntry* entry = mirror.rib().find(prefix);
            if (entry != nullptr && mirror.rib().untold(prefix, *entry)) {
                outcome = "punt_unsupported";
            }
        }
        return fib;
    }
    void settle() {
        do {
            deliver(SIZE_MAX);
            answer(false);
            tick(1);
        } while (sync.state() != SyncState::synced || sync.deadline());
    }

    KernelModel kernel;
    RecordingSink sink;
    Mirror mirror{sink, {"e0", "e1"}};
    ModelTransport transport;
    uint64_t now = 1000;
    uint64_t slices = 0;  // of resyncs
    Sync sync;
};

}  // namespace millrace::sync::test
