// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/explain.hpp"

#include <fmt/core.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "dataplane/cli/client.hpp"
#include "dataplane/cli/explain_answer.hpp"
#include "dataplane/cli/explain_question.hpp"
#include "fib_sync/kernel_way.hpp"
#include "steering_bpf/reason_names.hpp"
#include "steering_bpf/trial.hpp"

namespace millrace::cli {

namespace {

constexpr int wrong_usage = 2;

struct ExplainOptions {
    std::vector<std::string> words;
    std::string frame;
    bool json = false;
};

int failed(const Error& error, int code) {
    fmt::print(stderr, "millrace: {}\n", error.text());
    return code;
}

// The MAC address that frames to the port have.
Result<MacAddress> mac_of(Client& client, const std::string& port) {
    Result<MacAddress> mac = fail(fmt::format("'{}' is no port of this millraced", port));
    const Status shown = client.show("ports", {}, [&](std::string_view text) {
        const auto row = nlohmann::json::parse(text);
        if (row.value("port", "") != port) {
            return;
        }
        mac = fail(fmt::format("port {} has no interface now, and so no MAC address", port));
        MacAddress found;
        auto& b = found.bytes;
        if (row["mac"].is_string() &&
            std::sscanf(row["mac"].get<std::string>().c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", b.data(),
                        &b[1], &b[2], &b[3], &b[4], &b[5]) == 6) {
            mac = found;
        }
    });
    return shown ? mac : tl::unexpected(shown.error());
}

Answer error_of(const Error& error) {
    return {{"error", error.text()}};
}

Answer workers_of(Client& client, const Question& question) {
    Answer workers = error_of({.what = "millraced said nothing"});
    const Status shown = client.show("explain", {{"port", question.port}, {"frame", hex(question.frame)}},
                                     [&](std::string_view text) { workers = Answer::parse(text); });
    return shown ? workers : error_of(shown.error());
}

Answer classifier_of(const Question& question, const std::string& pin_root) {
    const auto trial = steering::try_frame(question.port, pin_root, question.frame);
    if (!trial) {
        return error_of(trial.error());
    }
    std::string left_out;
    if ((trial->left_out & MILLRACE_SEES_TAKERS) != 0) {
        left_out = "not asked: whether a macvlan, bridge, ... takes the frame";
    } else if ((trial->left_out & MILLRACE_SEES_TAGS) != 0) {
        left_out = "(of a frame without a VLAN tag beside it)";
    }
    return {{"reason", steering::reason_names[trial->reason]},
            {"text", steering::reason_texts[trial->reason]},
            {"left_out", left_out.empty() ? Answer(nullptr) : Answer(left_out)}};
}

std::string refusal(int code) {
    switch (code) {
        case ENETUNREACH:
        case EHOSTUNREACH:
            return "unreachable: no route, or one that says so";
        case EACCES:
            return "prohibited by a route or a rule";
        case EINVAL:
            return "discarded: a blackhole, rp_filter, or an address that no packet may have";
        case EXDEV:
            return "discarded by rp_filter";
        default:
            return "refused";
    }
}

std::string type_name(uint8_t type) {
    switch (type) {
        case RTN_UNICAST:
            return "unicast";
        case RTN_LOCAL:
            return "local";
        case RTN_BROADCAST:
            return "broadcast";
        case RTN_MULTICAST:
            return "multicast";
        default:
            return fmt::format("of type {}", type);
    }
}

Answer kernel_of(const Question::Packet& packet, Ifindex in) {
    const auto way = sync::kernel_way({.in = in,
                                       .source = packet.source,
                                       .destination = packet.destination,
                                       .protocol = packet.protocol,
                                       .source_port = packet.source_port,
                                       .destination_port = packet.destination_port});
    if (!way) {
        return error_of(way.error());
    }
    if (way->refused != 0) {
        return {{"refused", refusal(way->refused)}, {"errno", way->refused}};
    }
    return {{"type", type_name(way->type)},
            {"device", way->out_name},
            {"gateway", way->gateway ? Answer(way->gateway->text()) : Answer(nullptr)},
            {"table", raw(way->table)},
            {"refused", nullptr}};
}

std::string packet_text(const Question& question) {
    const auto packet = packet_of(question.frame);
    const std::string size = fmt::format("{} bytes", question.frame.size());
    if (!packet) {
        return "no whole IP packet, " + size;
    }
    const bool udp = packet->protocol == IPPROTO_UDP;
    const bool icmp = packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6;
    const std::string protocol =
        udp || packet->protocol == IPPROTO_TCP
            ? fmt::format("{} {} to {}", udp ? "udp" : "tcp", packet->source_port, packet->destination_port)
        : icmp ? "icmp"
               : fmt::format("protocol {}", packet->protocol);
    return fmt::format("{} to {}, {}, {} with the Ethernet header", packet->source.text(),
                       packet->destination.text(), protocol, size);
}

int explain(const std::string& socket, const ExplainOptions& options) {
    auto question = parse_question(options.words, options.frame);
    if (!question) {
        return failed(question.error(), wrong_usage);
    }
    auto client = Client::connect(socket);
    if (!client) {
        return failed(client.error(), explain_not_known);
    }
    if (question->packet) {
        const auto mac = mac_of(*client, question->port);
        if (!mac) {
            return failed(mac.error(), explain_not_known);
        }
        question->frame = frame_of(*question->packet, *mac);
    }
    Answer answer{
        {"port", question->port}, {"packet", packet_text(*question)}, {"frame", hex(question->frame)}};
    const Answer workers = workers_of(*client, *question);
    if (workers.contains("error")) {
        return failed({.what = workers["error"].get<std::string>()}, explain_not_known);
    }
    answer["classifier"] = classifier_of(*question, workers.value("pin_root", ""));
    answer["workers"] = workers;
    const auto packet = packet_of(question->frame);
    answer["kernel"] = packet && workers["ifindex"].is_number()
                           ? kernel_of(*packet, Ifindex{workers["ifindex"].get<uint32_t>()})
                           : Answer(nullptr);
    const ExplainCode code = judge(answer);
    fmt::print("{}", options.json ? answer.dump(1, ' ', false, Answer::error_handler_t::replace) + "\n"
                                  : explain_text(answer));
    return code;
}

}  // namespace

void add_explain(CLI::App& app, const std::string& socket, Command& command) {
    const auto options = std::make_shared<ExplainOptions>();
    CLI::App* verb = app.add_subcommand("explain", "what would become of a packet, and why");
    verb->add_option("WORDS", options->words,
                     "in PORT from ADDRESS to ADDRESS [udp|tcp SPORT DPORT | icmp] [length BYTES]")
        ->required();
    verb->add_option("--frame", options->frame,
                     "this one instead, Ethernet header first: 'in PORT' alone stands before it")
        ->type_name("HEX");
    verb->add_flag("--json", options->json, "one object, for machines");
    verb->footer(
        "Nothing is sent, counted or changed. It takes root, in millraced's network namespace: the classifier is\n"
        "loaded a second time on the port's maps, and run on the frame as if it came in over receive queue 0.\n"
        "length: of the IP packet. Without a protocol it is UDP, from 49152 to 33434.\n"
        "Exit status: 0 fast path, 3 the kernel handles it, 4 the fast path and the kernel's routes differ,\n"
        "5 dropped by the fast path, 1 not known, 2 wrong usage.\n"
        "Examples:\n"
        "  millrace explain in eth0 from 10.1.0.10 to 10.2.0.10 udp 1024 53 length 1400\n"
        "  millrace explain in eth0 from 2001:db8::1 to 2001:db8:2::1 icmp --json\n"
        "  millrace explain in eth0 --frame \"$(xxd -p packet.bin | tr -d '\\n')\"");
    verb->callback(
        [options, &socket, &command] { command = [options, &socket] { return explain(socket, *options); }; });
}

}  // namespace millrace::cli
