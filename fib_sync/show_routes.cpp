// SPDX-License-Identifier: BSD-3-Clause
// A table of more than a million prefixes is walked in pieces, and its rows are text from the start: what the
// prefixes of one group have in common is worked out once.
#include <array>
#include <unordered_map>
#include <utility>

#include "fib_sync/route_filter.hpp"
#include "fib_sync/show.hpp"
#include "fib_sync/show_words.hpp"

namespace millrace::sync {
namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned entries_a_step = 1000;  // about a millisecond

// What the rows of a group have in common, while nothing changes.
class GroupFacts {
  public:
    struct Facts {
        bool taken = false;
        Outcome outcome = Outcome::punt;
        std::string front;  // "outcome":...,"reason":...
        std::string back;   // "nexthop_id":...,"group":...,"via":[...]
    };
    GroupFacts(const Mirror& mirror, const RouteFilter& filter) : mirror_(mirror), filter_(filter) {}

    const Facts& of(const Groups::Group& group) {
        const std::pair version{mirror_.groups().version(), mirror_.links().version()};
        if (version != version_) {
            version_ = version;
            all_.clear();
        }
        const auto [at, created] = all_.try_emplace(raw(group.id));
        if (created) {
            at->second = work_out(group);
        }
        return at->second;
    }

  private:
    // The members of an object, without its braces.
    static std::string inner(const Json& object) {
        const std::string text = text_of(object);
        return text.substr(1, text.size() - 2);
    }
    [[nodiscard]] Facts work_out(const Groups::Group& group) const {
        const Reason reason = mirror_.groups().effective_reason(group);
        const Outcome outcome = outcome_of(reason);
        return {.taken = filter_.takes(mirror_.groups(), group),
                .outcome = outcome,
                .front = inner({{"outcome", name(outcome)}, {"reason", name(reason)}}),
                .back = inner({{"nexthop_id", nexthop_json(group)},
                               {"group", raw(group.id)},
                               {"via", members_json(mirror_, group)}})};
    }

    const Mirror& mirror_;
    const RouteFilter& filter_;
    std::pair<uint64_t, uint64_t> version_;
    std::unordered_map<uint32_t, Facts> all_;
};

// The prefixes that a filter takes, in order.
class Walk {
  public:
    using Step = RowSource::Step;
    Walk(const Mirror& mirror, const RouteFilter& filter)
        : mirror_(mirror), filter_(filter), facts_(mirror, filter_) {
        if (filter.where == RouteFilter::Where::longer) {
            within_ = filter.prefix;
        } else if (filter.where == RouteFilter::Where::everywhere && filter.family) {
            within_ = Prefix{IpAddress{.family = *filter.family, .bytes = {}}, 0};
        }
    }
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;
    ~Walk() = default;

    struct Found {
        Prefix prefix;
        Mirror::Entry entry;
        const GroupFacts::Facts* facts;
    };
    // row: it is in found, until the next call or change of the mirror. Looks at no more entries than budget,
    // which it reduces.
    Step next(Found& found, unsigned& budget) {
        while (budget > 0) {
            --budget;
            const auto at = following();
            if (!at) {
                return Step::end;
            }
            last_ = at->first;
            const GroupFacts::Facts& facts = facts_.of(*at->second.group);
            if (facts.taken && filter_.takes_protocol(at->second)) {
                found = {at->first, at->second, &facts};
                return Step::row;
            }
        }
        return Step::later;
    }

  private:
    using Place = std::optional<std::pair<Prefix, Mirror::Entry>>;

    [[nodiscard]] Place at(const Prefix& prefix) const {
        const auto entry = mirror_.find_entry(prefix);
        return entry ? Place(std::pair{prefix, *entry}) : std::nullopt;
    }
    [[nodiscard]] Place following() const {
        if (filter_.where == RouteFilter::Where::exact) {
            return last_ ? std::nullopt : at(filter_.prefix);
        }
        if (filter_.where == RouteFilter::Where::lookup) {
            return last_ ? std::nullopt : longest_match();
        }
        if (!within_) {
            return mirror_.next_entry(last_ ? &*last_ : nullptr);
        }
        Place first = last_ ? std::nullopt : at(*within_);
        if (first) {
            return first;
        }
        // A prefix comes just before those that it contains.
        Place place = mirror_.next_entry(last_ ? &*last_ : &*within_);
        return place && within_->contains(place->first.address) ? place : std::nullopt;
    }
    [[nodiscard]] Place longest_match() const {
        const IpAddress& address = filter_.prefix.address;
        for (unsigned length = address_bits(address.family) + 1; length-- > 0;) {
            if (Place place = at(Prefix::make(address, length))) {
                return place;
            }
        }
        return std::nullopt;
    }

    const Mirror& mirror_;
    const RouteFilter filter_;
    GroupFacts facts_;
    std::optional<Prefix> within_;
    std::optional<Prefix> last_;
};

class RouteRows : public RowSource {
  public:
    RouteRows(const Mirror& mirror, const RouteFilter& filter) : walk_(mirror, filter) {}

    Step next(std::string& row) override {
        Walk::Found found{};
        unsigned budget = entries_a_step;
        const Step step = walk_.next(found, budget);
        if (step == Step::row) {
            const auto* route = found.entry.route;
            row.clear();
            fmt::format_to(std::back_inserter(row),
                           R"({{"family":"{}","prefix":"{}",{},"protocol":"{}","metric":{},{}}})",
                           family_name(found.prefix.address.family), found.prefix.text(), found.facts->front,
                           route != nullptr ? protocol_name(route->protocol) : neighbor_protocol,
                           route != nullptr ? route->metric : 0, found.facts->back);
        }
        return step;
    }

  private:
    Walk walk_;
};

class RouteCounts : public RowSource {
  public:
    RouteCounts(const Mirror& mirror, const RouteFilter& filter)
        : mirror_(mirror), filter_(filter), walk_(mirror, filter) {}

    Step next(std::string& row) override {
        if (!counted_) {
            if (const Step step = count(); step != Step::end) {
                return step;
            }
            counted_ = true;
        }
        while (shown_ < families.size()) {
            const Family family = families.at(shown_++);
            if (!filter_.family || *filter_.family == family) {
                row = text(family);
                return Step::row;
            }
        }
        return Step::end;
    }

  private:
    static constexpr std::array families = {Family::ipv4, Family::ipv6};

    uint64_t& number(Family family, Outcome outcome) {
        return numbers_.at(family == Family::ipv6 ? 1 : 0).at(static_cast<size_t>(outcome));
    }
    // end: all are counted.
    Step count() {
        if (filter_.by_group_alone()) {
            for (const auto& [key, group] : mirror_.groups().all()) {
                if (!filter_.takes(mirror_.groups(), *group)) {
                    continue;
                }
                const Outcome outcome = outcome_of(mirror_.groups().effective_reason(*group));
                for (const Family family : families) {
                    number(family, outcome) += group->routes(family);
                }
            }
            return Step::end;
        }
        Walk::Found found{};
        unsigned budget = entries_a_step;
        Step step = walk_.next(found, budget);
        for (; step == Step::row; step = walk_.next(found, budget)) {
            ++number(found.prefix.address.family, found.facts->outcome);
        }
        return step;
    }
    std::string text(Family family) {
        Json json = {{"family", family_name(family)}, {"routes", 0}};
        uint64_t routes = 0;
        for (size_t i = 0; i < outcome_count; ++i) {
            const auto outcome = static_cast<Outcome>(i);
            json[std::string(name(outcome))] = number(family, outcome);
            routes += number(family, outcome);
        }
        json["routes"] = routes;
        return text_of(json);
    }

    const Mirror& mirror_;
    const RouteFilter filter_;
    Walk walk_;
    std::array<std::array<uint64_t, outcome_count>, 2> numbers_{};
    bool counted_ = false;
    size_t shown_ = 0;
};

}  // namespace

RowOpener show_routes(const Mirror& mirror) {
    return [&mirror](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        const auto filter = parse_route_filter(arguments, mirror.links());
        if (!filter) {
            return tl::unexpected(filter.error());
        }
        if (filter->count) {
            return std::make_unique<RouteCounts>(mirror, *filter);
        }
        return std::make_unique<RouteRows>(mirror, *filter);
    };
}

}  // namespace millrace::sync
