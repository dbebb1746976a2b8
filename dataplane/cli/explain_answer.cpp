// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/explain_answer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>

#include "dataplane/cli/table.hpp"

namespace millrace::cli {

namespace {

bool known(const Answer& part) {
    return part.is_object() && !part.contains("error");
}

std::string word(const Answer& object, const char* key, const char* otherwise = "?") {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

uint64_t count(const Answer& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

std::string way(const std::string& gateway, const std::string& device) {
    return gateway.empty() ? "dev " + device : gateway + " dev " + device;
}

// The gateway where the destination itself is none: a host's own entry says "via itself".
std::string gateway_of(const Answer& hop, const Answer& workers) {
    const std::string gateway = word(hop, "gateway", "");
    const Answer& packet = workers["packet"];
    return packet.is_object() && gateway == word(packet, "destination") ? "" : gateway;
}

std::string kernel_way(const Answer& kernel) {
    if (!kernel["refused"].is_null()) {
        return word(kernel, "refused");
    }
    const std::string type = word(kernel, "type");
    return type == "unicast" ? way(word(kernel, "gateway", ""), word(kernel, "device")) : type;
}

// May the kernel have taken this member of the fast path's route?
bool leads_the_same_way(const Answer& kernel, const Answer& workers) {
    const auto same = [&](const Answer& hop) {
        return word(hop, "interface") == word(kernel, "device") &&
               gateway_of(hop, workers) == word(kernel, "gateway", "");
    };
    if (word(kernel, "type") != "unicast") {
        return false;
    }
    const Answer& route = workers["route"];
    return same(workers["next_hop"]) || (route.is_object() && route.contains("via") &&
                                         std::any_of(route["via"].begin(), route["via"].end(), same));
}

std::optional<std::string> difference(const Answer& workers, const Answer& kernel) {
    const std::string reason = word(workers, "reason");
    if (!known(kernel)) {
        return std::nullopt;
    }
    if (reason == "forwarded" && !leads_the_same_way(kernel, workers)) {
        return fmt::format(
            "the fast path sends it over {}, the kernel's answer is: {}",
            way(gateway_of(workers["next_hop"], workers), word(workers["next_hop"], "interface")),
            kernel_way(kernel));
    }
    if (reason == "drop_blackhole" && kernel.value("errno", 0) != EINVAL) {
        return fmt::format("the fast path discards it, the kernel's answer is: {}", kernel_way(kernel));
    }
    const Answer& route = workers["route"];
    if (route.is_object() && !route.value("same", true)) {
        return "what the workers' table says of the address is not what the mirror holds; 'millrace verify'";
    }
    return std::nullopt;
}

void line(std::string& text, std::string_view name, const std::string& what) {
    text += fmt::format("{:<11} {}\n", name, what);
}

std::string route_text(const Answer& route) {
    if (route.is_null()) {
        return "none";
    }
    std::string text = fmt::format("{}, {}, metric {}: {}", word(route, "prefix"), word(route, "protocol"),
                                   count(route, "metric"),
                                   word(route, word(route, "outcome") == "punt" ? "reason" : "outcome"));
    if (!route["nexthop_id"].is_null()) {
        text += fmt::format(", nexthop object {}", count(route, "nexthop_id"));
    }
    return text;
}

void workers_text(const Answer& workers, std::string& text) {
    const Answer& packet = workers["packet"];
    line(text, "header", packet.is_null() ? word(workers, "text") : "good");
    if (workers["reverse_path"].is_string()) {
        const std::string filter = word(workers, "reverse_path");
        const bool fails = workers["group"].is_null();
        line(text, "rp_filter",
             filter + (filter == "off" ? ""
                       : fails         ? ": " + word(workers, "text")
                                       : ": passes"));
    }
    const Answer& group = workers["group"];
    if (group.is_null()) {
        return;
    }
    line(text, "route", route_text(workers["route"]));
    const uint64_t buckets = count(group, "buckets");
    line(text, "group",
         buckets == 0 ? fmt::format("{}: nothing to choose", count(group, "id"))
                      : fmt::format("{}: flow hash {:08x}, bucket {} of {}", count(group, "id"),
                                    count(group, "hash"), count(group, "bucket"), buckets));
    const Answer& hop = workers["next_hop"];
    if (hop.is_null()) {
        return;
    }
    const std::string over = way(word(hop, "gateway", ""), word(hop, "interface"));
    if (!hop.value("usable", false)) {
        line(text, "next hop", over + ": " + word(workers, "text"));
        return;
    }
    line(text, "next hop", fmt::format("{} at {}", over, word(hop, "mac")));
    const uint64_t mtu = count(hop, "mtu");
    const uint64_t length = count(packet, "length");
    line(text, "MTU", fmt::format("{}: {} bytes {}", mtu, length, length <= mtu ? "fit" : "do not fit"));
    if (word(workers, "reason") == "forwarded") {
        line(text, "leaves", fmt::format("{}, from {}", word(hop, "port"), word(hop, "source_mac")));
    }
}

}  // namespace

ExplainCode judge(Answer& answer) {
    const Answer& classifier = answer["classifier"];
    const Answer& workers = answer["workers"];
    const auto say = [&answer](const char* verdict, const std::string& why, Answer differs = nullptr) {
        answer["verdict"] = verdict;
        answer["why"] = why;
        answer["differs"] = std::move(differs);
    };
    if (!known(classifier) || !known(workers)) {
        say("not known", word(known(classifier) ? workers : classifier, "error"));
        return explain_not_known;
    }
    if (word(classifier, "reason") != "redirect") {
        say("kernel", "the classifier: " + word(classifier, "text"));
        return explain_kernel;
    }
    const std::string reason = word(workers, "reason");
    if (reason.starts_with("punt_")) {
        say("kernel", "the worker hands it over: " + word(workers, "text"));
        return explain_kernel;
    }
    const auto differs = difference(workers, answer["kernel"]);
    const bool forwarded = reason == "forwarded";
    say(forwarded ? "fast path" : "dropped", word(workers, "text"),
        differs ? Answer(*differs) : Answer(nullptr));
    return differs ? explain_differs : forwarded ? explain_fast_path : explain_dropped;
}

std::string explain_text(const Answer& answer) {
    std::string text;
    line(text, "frame", fmt::format("in {}: {}", word(answer, "port"), word(answer, "packet")));
    const Answer& classifier = answer["classifier"];
    const bool tried = known(classifier);
    line(text, "classifier",
         tried ? fmt::format("{}: {}", word(classifier, "reason"), word(classifier, "text"))
               : "not known: " + word(classifier, "error"));
    if (tried && classifier["left_out"].is_string()) {
        line(text, "", word(classifier, "left_out"));
    }
    const Answer& workers = answer["workers"];
    if (!known(workers)) {
        line(text, "workers", "not known: " + word(workers, "error"));
    } else {
        if (word(workers, "state") != "served") {
            line(text, "port", "left to the kernel: " + word(workers, "why"));
        }
        if (tried && word(classifier, "reason") != "redirect") {
            line(text, "", "what follows is what the fast path would do if it came to it:");
        }
        workers_text(workers, text);
    }
    const Answer& kernel = answer["kernel"];
    line(text, "kernel",
         known(kernel)      ? kernel_way(kernel) + " (by its routes; its firewall is not asked)"
         : kernel.is_null() ? "not asked: no IP packet"
                            : "not known: " + word(kernel, "error"));
    line(text, "verdict", word(answer, "verdict") + ": " + word(answer, "why"));
    if (answer["differs"].is_string()) {
        line(text, "differs", word(answer, "differs"));
    }
    return text;
}

}  // namespace millrace::cli
