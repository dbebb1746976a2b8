// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/unbound_work.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

namespace millrace::dataplane {

namespace {

namespace fs = std::filesystem;

constexpr unsigned bits = 32;  // of a word

// A bit for each core, the lowest first.
using Mask = std::vector<uint32_t>;

// As the kernel prints it: words in hex, the highest first. Empty: it is not there.
Mask read_mask(const fs::path& file) {
    Mask mask;
    std::ifstream in(file);
    for (std::string word; std::getline(in, word, ',');) {
        std::istringstream text(word);
        uint32_t value = 0;
        if (!(text >> std::hex >> value)) {
            return {};
        }
        mask.insert(mask.begin(), value);
    }
    return mask;
}

// An errno, or 0.
int write_mask(const fs::path& file, const Mask& mask) {
    std::string text;
    for (auto word = mask.rbegin(); word != mask.rend(); ++word) {
        text += fmt::format("{}{:08x}", text.empty() ? "" : ",", *word);
    }
    std::ofstream out(file);
    out << text << std::flush;
    return out ? 0 : errno;
}

bool none(const Mask& mask) {
    return std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; });
}

void add(Mask& mask, const Mask& more) {
    for (size_t w = 0; w < std::min(mask.size(), more.size()); ++w) {
        mask[w] |= more[w];
    }
}

}  // namespace

UnboundWork::UnboundWork(const std::vector<uint16_t>& cores, fs::path record, fs::path file)
    : record_(std::move(record)), file_(std::move(file)) {
    const Mask now = read_mask(file_);
    if (now.empty()) {
        problem_ = fmt::format("{} can't be read", file_.string());
        return;
    }
    Mask left = now;
    add(left, read_mask(record_));
    Mask taken(left.size());
    for (const uint16_t core : cores) {
        if (const size_t word = core / bits; word < left.size()) {
            taken[word] |= left[word] & 1U << core % bits;
        }
    }
    for (size_t w = 0; w < left.size(); ++w) {
        left[w] &= ~taken[w];
    }
    if (none(left)) {
        problem_ = "no core is left beside the workers'";
        return;
    }
    // The record first: killed in between, there is more in it than was taken, which does no harm.
    if (int error = none(taken) ? 0 : write_mask(record_, taken); error != 0) {
        problem_ = fmt::format("{}: {}", record_.string(), std::generic_category().message(error));
    } else if (error = left == now ? 0 : write_mask(file_, left); error != 0) {
        problem_ = fmt::format("{}: {}", file_.string(), std::generic_category().message(error));
    }
}

void UnboundWork::give_back(const fs::path& record, const fs::path& file) {
    const Mask taken = read_mask(record);
    if (none(taken)) {
        return;
    }
    Mask mask = read_mask(file);
    add(mask, taken);
    if (const int error = write_mask(file, mask); error != 0) {
        spdlog::warn("{}: {}", file.string(), std::generic_category().message(error));
    }
    std::error_code ignored;
    fs::remove(record, ignored);
}

}  // namespace millrace::dataplane
