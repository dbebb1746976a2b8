// SPDX-License-Identifier: BSD-3-Clause
// Where the kernel runs the work that it may run on any core.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace::dataplane {

// Keeps the kernel's unbound work queues off these cores while it lives
// (Documentation/core-api/workqueue.rst, workqueue/cpumask). The end of a network namespace, or memory that
// RCU frees, is 100 ms of such work, which a kernel without preemption lets no real-time thread interrupt.
// Does nothing where no core would be left for it. Of several daemons with one core, the first one's end
// gives it back.
class UnboundWork {
  public:
    // record: the file that says which cores are to be given back, for the next life of one that was killed.
    // file: the kernel's.
    UnboundWork(const std::vector<uint16_t>& cores, std::filesystem::path record,
                std::filesystem::path file = cpumask);
    ~UnboundWork() { give_back(record_, file_); }
    UnboundWork(const UnboundWork&) = delete;
    UnboundWork& operator=(const UnboundWork&) = delete;
    UnboundWork(UnboundWork&&) = delete;
    UnboundWork& operator=(UnboundWork&&) = delete;

    // The cores of a life that has ended, however it did.
    static void give_back(const std::filesystem::path& record, const std::filesystem::path& file = cpumask);

    // Why it may run there all the same; empty: it doesn't.
    [[nodiscard]] const std::string& problem() const { return problem_; }

    static constexpr const char* cpumask = "/sys/devices/virtual/workqueue/cpumask";

  private:
    std::filesystem::path record_;
    std::filesystem::path file_;
    std::string problem_;
};

}  // namespace millrace::dataplane
