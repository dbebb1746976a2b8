// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/sample.hpp"

#include <string_view>
#include <utility>

#include "dataplane/cli/client.hpp"

namespace millrace::cli {

Result<Sample> take_sample(const std::string& socket) {
    auto client = Client::connect(socket);
    if (!client) {
        return tl::unexpected(client.error());
    }
    Sample sample;
    for (const auto& [what, rows] : {std::pair<const char*, Rows*>{"ports", &sample.ports},
                                     {"workers", &sample.workers},
                                     {"counters", &sample.reasons},
                                     {"steering", &sample.verdicts}}) {
        const bool verdicts_alone = rows == &sample.verdicts;
        const Status shown = client->show(what, {}, [&, into = rows](std::string_view text) {
            auto row = nlohmann::json::parse(text);
            if (!verdicts_alone || row.value("kind", "") == "verdict") {
                into->rows.push_back(std::move(row));
            }
        });
        if (!shown) {
            return tl::unexpected(shown.error());
        }
        rows->at = std::chrono::steady_clock::now();
    }
    return sample;
}

}  // namespace millrace::cli
