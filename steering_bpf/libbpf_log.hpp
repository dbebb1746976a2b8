// SPDX-License-Identifier: BSD-3-Clause
// While it lives, libbpf's warnings of this thread are kept instead of printed: the last ones say why the
// verifier or the kernel refused. One at a time in a thread.
#pragma once

#include <bpf/libbpf.h>

#include <deque>
#include <string>

namespace millrace::steering {

class LibbpfLog {
  public:
    LibbpfLog();
    ~LibbpfLog();
    LibbpfLog(const LibbpfLog&) = delete;
    LibbpfLog& operator=(const LibbpfLog&) = delete;

    // The last lines, joined by "; "; empty when libbpf said nothing.
    [[nodiscard]] std::string tail() const;
    void add(std::string line);

  private:
    std::deque<std::string> lines_;
    libbpf_print_fn_t previous_;
};

}  // namespace millrace::steering
