// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/watch.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "dataplane/cli/periods.hpp"

namespace millrace::cli {

namespace {

// What show prints, or why it doesn't.
Result<std::string> printed(const std::function<Status(std::FILE*)>& show) {
    char* text = nullptr;
    size_t size = 0;
    std::FILE* out = open_memstream(&text, &size);
    if (out == nullptr) {
        return fail("no memory to show it in", errno);
    }
    const Status shown = show(out);
    std::fclose(out);
    const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
    return shown ? Result<std::string>(std::string(text, size)) : tl::unexpected(shown.error());
}

std::string now() {
    return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(std::time(nullptr)));
}

}  // namespace

int watch(const Watch& watch, const std::function<Status(std::FILE*)>& show) {
    // Before the screen is taken: what fails at once is said like any error.
    auto text = printed(show);
    if (!text) {
        fmt::print(stderr, "millrace: {}\n", text.error().text());
        return 1;
    }
    Periods periods(watch.seconds, watch.json);
    std::string said;
    std::string page;
    while (true) {
        const std::string problem = text ? "" : text.error().text();
        if (periods.screen() != nullptr) {
            page = fmt::format("{}  {}  every {:g} s, q quits\n\n{}", now(), watch.title, watch.seconds,
                               text ? *text : problem);
            periods.screen()->draw(page);
        } else if (!text) {
            if (problem != said) {
                fmt::print(stderr, "millrace: {}\n", problem);
            }
        } else {
            fmt::print("{}{}{}", watch.json ? "" : now() + "\n", *text, watch.json ? "" : "\n");
        }
        said = problem;
        periods.advance();
        if (!periods.wait([](char) {}, [&] { periods.screen()->draw(page); })) {
            return periods.end();
        }
        text = printed(show);
    }
}

}  // namespace millrace::cli
