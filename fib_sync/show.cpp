// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/show.hpp"

#include <nlohmann/json.hpp>

#include "fib_sync/show_words.hpp"

namespace millrace::sync {
namespace {

using Json = nlohmann::ordered_json;

class GroupRows : public RowSource {
  public:
    explicit GroupRows(const Mirror& mirror) : mirror_(mirror) {}

    Step next(std::string& row) override {
        const auto& all = mirror_.groups().all();
        const auto at = last_ ? all.upper_bound(*last_) : all.begin();
        if (at == all.end()) {
            return Step::end;
        }
        last_ = at->first;
        const Groups::Group& group = *at->second;
        const Reason reason = mirror_.groups().effective_reason(group);
        const Json json = {
            {"group", raw(group.id)},
            {"nexthop_id", nexthop_json(group)},
            {"outcome", name(outcome_of(reason))},
            {"reason", name(reason)},
            {"members", members_json(mirror_, group)},
            {"routes", group.routes()},
        };
        row = text_of(json);
        return Step::row;
    }

  private:
    const Mirror& mirror_;
    std::optional<Groups::Key> last_;
};

class NeighborRows : public RowSource {
  public:
    NeighborRows(const Mirror& mirror, const NeighbourCare& care, std::optional<Family> family)
        : mirror_(mirror), care_(care), family_(family) {}

    Step next(std::string& row) override {
        const auto& all = mirror_.neighbours().all();
        auto at = last_ ? all.upper_bound(*last_) : all.begin();
        while (at != all.end() && family_ && at->first.address.family != *family_) {
            ++at;
        }
        if (at == all.end()) {
            return Step::end;
        }
        const auto& [key, neighbour] = *at;
        last_ = key;
        const Care care = care_.care_of(key);
        const Json json = {
            {"address", key.address.text()},
            {"interface", mirror_.links().name(key.ifindex)},
            {"mac", neighbour.mac ? Json(neighbour.mac->text()) : Json(nullptr)},
            {"state", neighbour_state_name(neighbour.state)},
            {"usable", neighbour.usable() && mirror_.links().usable(key.ifindex)},
            {"host_route", mirror_.has_host_route(key)},
            {"care", care == Care::none ? Json(nullptr) : Json(name(care))},
        };
        row = text_of(json);
        return Step::row;
    }

  private:
    const Mirror& mirror_;
    const NeighbourCare& care_;
    std::optional<Family> family_;
    std::optional<NeighborKey> last_;
};

class SyncRow : public RowSource {
  public:
    explicit SyncRow(const FibSync& sync) : sync_(sync) {}

    Step next(std::string& row) override {
        if (done_) {
            return Step::end;
        }
        done_ = true;
        const Statistics& s = sync_.statistics();
        const AuditStatistics& audit = sync_.audit().statistics();
        const Json json = {
            {"state", name(sync_.state())},
            {"synced", sync_.synced()},
            {"resync", under_way()},
            {"last_resync", last()},
            {"messages", s.messages},
            {"ignored", s.ignored},
            {"decode_errors", s.decode_errors},
            {"resyncs", s.resyncs},
            {"restarts", s.restarts},
            {"overruns", s.overruns},
            {"interrupted", s.interrupted},
            {"dump_failures", s.dump_failures},
            {"queue_overflows", s.queue_overflows},
            {"doubts", s.doubts},
            {"commits", s.commits},
            {"last_duration_ms", s.last_duration_ms},
            {"prefixes", sync_.mirror().rib().table().size()},
            {"groups", sync_.mirror().groups().all().size()},
            {"adjacencies", sync_.mirror().groups().adjacencies().size()},
            {"neighbors", sync_.mirror().neighbours().all().size()},
            {"nexthop_objects", sync_.mirror().nexthops().size()},
            {"neighbor_requests", sync_.neighbour_care().requested()},
            {"neighbor_requests_refused", sync_.neighbour_writer().refused()},
            {"audit_walks", audit.walks},
            {"audit_failures", audit.failures},
            {"audit_differences", audit.differences},
            {"audit_repaired", audit.repaired},
            {"audit_last_walk_ms", audit.last_walk_ms},
            {"audit_last_walk_ago_ms", ago(audit.last_walk_end)},
            {"audit_progress", walk()},
        };
        row = text_of(json);
        return Step::row;
    }

  private:
    // null: none.
    [[nodiscard]] Json under_way() const {
        const Progress p = sync_.progress();
        if (!p.running) {
            return nullptr;
        }
        return {{"reason", p.reason},
                {"stage", p.applying ? "applying" : name(p.stage)},
                {"done", p.done},
                {"expected", p.total == 0 ? Json(nullptr) : Json(p.total)},
                {"running_ms", FibSync::now_ms() - p.began_ms}};
    }
    static Json ago(uint64_t when) { return when == 0 ? Json(nullptr) : Json(FibSync::now_ms() - when); }
    [[nodiscard]] Json walk() const {
        const auto p = sync_.audit().progress();
        return p ? Json{{"what", p->what}, {"done", p->done}, {"total", p->total}} : Json(nullptr);
    }
    [[nodiscard]] Json last() const {
        const Statistics& s = sync_.statistics();
        if (s.resyncs == 0) {
            return nullptr;
        }
        Json told = Json::object();
        for (size_t i = 0; i < dump_kinds; ++i) {
            told[std::string(name(static_cast<DumpKind>(i)))] = s.last_told.at(i);
        }
        return {{"reason", s.last_reason},
                {"duration_ms", s.last_duration_ms},
                {"ago_ms", ago(s.last_resync_ms)},
                {"told", told},
                {"changed", s.last_changed}};
    }

    const FibSync& sync_;
    bool done_ = false;
};

}  // namespace

RowOpener show_nexthops(const Mirror& mirror) {
    return [&mirror](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return std::make_unique<GroupRows>(mirror);
    };
}

RowOpener show_neighbors(const Mirror& mirror, const NeighbourCare& care) {
    return [&mirror, &care](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        std::optional<Family> only;
        if (const auto given = arguments.find("family"); given != arguments.end()) {
            const auto family = parse_family(given->second);
            if (!family) {
                return tl::unexpected(family.error());
            }
            only = *family;
        }
        return std::make_unique<NeighborRows>(mirror, care, only);
    };
}

RowOpener show_sync(const FibSync& sync) {
    return [&sync](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return std::make_unique<SyncRow>(sync);
    };
}

}  // namespace millrace::sync
