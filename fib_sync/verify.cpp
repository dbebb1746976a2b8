// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/verify.hpp"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

namespace millrace::sync {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t progress_ms = 200;

std::string text_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class VerifyRows : public RowSource {
  public:
    explicit VerifyRows(std::unique_ptr<Audit::Verification> verification)
        : verification_(std::move(verification)), began_(FibSync::now_ms()) {}

    Step next(std::string& row) override {
        const uint64_t now = FibSync::now_ms();
        if (!over_) {
            const auto worked = verification_->work(now);
            if (!worked) {
                over_ = ended_ = true;
                row = text_of({{"kind", "failure"}, {"what", worked.error().text()}});
                return Step::row;
            }
            over_ = *worked;
            if (over_ || now < next_progress_) {
                return Step::later;
            }
            next_progress_ = now + progress_ms;
            const auto p = verification_->progress();
            row = text_of({{"kind", "progress"},
                           {"what", verification_->held_up() ? "waiting for a resync" : p.what},
                           {"done", p.done},
                           {"total", p.total}});
            return Step::row;
        }
        const auto& differences = verification_->differences();
        if (next_difference_ < differences.size()) {
            const Difference& d = differences[next_difference_++];
            row = text_of(
                {{"kind", "difference"}, {"subject", d.subject}, {"where", name(d.where)}, {"what", d.what}});
            return Step::row;
        }
        if (std::exchange(ended_, true)) {
            return Step::end;
        }
        const AuditCounts& c = verification_->counts();
        row = text_of({{"kind", "summary"},
                       {"routes4", c.routes4},
                       {"routes6", c.routes6},
                       {"nexthops", c.nexthops},
                       {"neighbors", c.neighbours},
                       {"links", c.links},
                       {"prefixes", c.prefixes},
                       {"differences", c.differences()},
                       {"without_room", c.without_room},
                       {"not_asked", c.not_asked},
                       {"seconds", static_cast<double>(now - began_) / 1000}});
        return Step::row;
    }

  private:
    std::unique_ptr<Audit::Verification> verification_;
    uint64_t began_;
    uint64_t next_progress_ = 0;
    size_t next_difference_ = 0;
    bool over_ = false;
    bool ended_ = false;
};

class PlantedRow : public RowSource {
  public:
    explicit PlantedRow(std::string what) : what_(std::move(what)) {}
    Step next(std::string& row) override {
        if (std::exchange(told_, true)) {
            return Step::end;
        }
        row = text_of({{"planted", what_}});
        return Step::row;
    }

  private:
    std::string what_;
    bool told_ = false;
};

}  // namespace

RowOpener verify(FibSync& sync) {
    return [&sync](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        std::optional<size_t> sample;
        if (const auto given = arguments.find("sample"); given != arguments.end()) {
            const std::string& text = given->second;
            size_t number = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
            if (error != std::errc() || end != text.data() + text.size() || number == 0) {
                return fail("sample: \"" + text + "\" is no number of prefixes");
            }
            sample = number;
        }
        auto verification = sync.audit().verify(sample);
        if (!verification) {
            return tl::unexpected(verification.error());
        }
        return std::make_unique<VerifyRows>(std::move(*verification));
    };
}

RowOpener plant(FibSync& sync) {
    return [&sync](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        const auto argument = [&](const char* key) {
            const auto given = arguments.find(key);
            return given == arguments.end() ? std::string() : given->second;
        };
        const auto prefix = Prefix::parse(argument("prefix"));
        if (!prefix) {
            return fail("prefix: \"" + argument("prefix") + "\" is no prefix, or has host bits set");
        }
        auto planted = sync.plant(argument("kind"), *prefix);
        if (!planted) {
            return tl::unexpected(planted.error());
        }
        return std::make_unique<PlantedRow>(std::move(*planted));
    };
}

}  // namespace millrace::sync
