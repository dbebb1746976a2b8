// SPDX-License-Identifier: BSD-3-Clause
// millraced: the forwarder and the mirror. main() is the ordered list of what is started; what is declared
// later is torn down first. The only place that sees both fib_sync and the dataplane.
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <set>

#include "dataplane/config/config_file.hpp"
#include "dataplane/control/server.hpp"
#include "dataplane/daemon/actions.hpp"
#include "dataplane/daemon/check.hpp"
#include "dataplane/daemon/crash_loop.hpp"
#include "dataplane/daemon/drain.hpp"
#include "dataplane/daemon/explain.hpp"
#include "dataplane/daemon/heart.hpp"
#include "dataplane/daemon/log.hpp"
#include "dataplane/daemon/metrics.hpp"
#include "dataplane/daemon/open_ports.hpp"
#include "dataplane/daemon/port_keeper.hpp"
#include "dataplane/daemon/port_states.hpp"
#include "dataplane/daemon/preflight.hpp"
#include "dataplane/daemon/punt_relief.hpp"
#include "dataplane/daemon/reload.hpp"
#include "dataplane/daemon/restart.hpp"
#include "dataplane/daemon/show.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/daemon/telemetry.hpp"
#include "dataplane/daemon/unbound_work.hpp"
#include "dataplane/forward/scheduling.hpp"
#include "dataplane/port/eal.hpp"
#include "dataplane/port/rings.hpp"
#include "fib_sync/fib_sync.hpp"
#include "fib_sync/nft_reader.hpp"
#include "fib_sync/show.hpp"
#include "fib_sync/verify.hpp"
#include "steering_bpf/attach.hpp"

using namespace millrace;
using namespace millrace::dataplane;

namespace {

constexpr uint64_t sync_tick_us = Heart::turn_us;
constexpr uint64_t room_period_us = 200'000;
constexpr uint64_t steering_poll_us = Steering::poll_ms * 1000;
// Far more than full rings need; what is left then waits for a netdev that sends nothing.
constexpr auto drain_deadline = std::chrono::milliseconds(500);

// The manual's; units don't try again after the last two.
enum Exit : int {
    exit_good = 0,
    exit_failed = 1,
    exit_usage = 2,
    exit_config = 78,  // EX_CONFIG of sysexits.h
};

struct Options {
    std::string config = "/etc/millrace/millrace.toml";
    bool check = false;
    bool debug_hooks = false;
    bool note_end = false;
};

// Tells the watchdog that what was declared after it has ended.
struct Ended {
    Ended() = default;
    ~Ended() { sd_notify(0, "WATCHDOG=1"); }
    Ended(const Ended&) = delete;
    Ended& operator=(const Ended&) = delete;
};

int fatal(const Error& error, Exit status = exit_failed) {
    if (flush_log()) {  // else nobody would read it, and it would wait for that
        fmt::print(stderr, "millraced: {}\n", error.text());
    }
    return status;
}

RowOpener refuse_plant() {
    return [](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return fail("millraced was started without --debug-hooks");
    };
}

// nf_tables' announcements, for the firewall's watch.
Ruleset ruleset() {
    auto opened = sync::NftReader::open();
    if (!opened) {
        spdlog::debug("no nf_tables in this kernel: {}", opened.error().text());
        return {};
    }
    const auto nft = std::make_shared<sync::NftReader>(std::move(*opened));
    return {.fd = nft->fd(),
            .take = [nft] { return nft->news().lost; },
            .settle = [nft] { return nft->settle(); }};
}

std::optional<ExplainSources::Hop> hop_of(const sync::Mirror& mirror, AdjacencyId id) {
    for (const auto& [key, adjacency] : mirror.groups().adjacencies()) {
        if (adjacency.id == id && id != no_adjacency) {
            return ExplainSources::Hop{key.gateway.text(), mirror.links().name(key.ifindex)};
        }
    }
    return std::nullopt;
}

std::string unbound_record(const Config& config) {
    return config.control_socket + ".unbound";
}

Status serve(const Config& config, const Options& options, Self& self) {
    const bool debug_hooks = options.debug_hooks;
    auto loop = EventLoop::create();
    if (!loop) {
        return tl::unexpected(loop.error());
    }
    // Before any thread is started: they all inherit the blocked signals.
    std::vector<EventLoop::Handle> handles;
    const auto keep = [&handles](Result<EventLoop::Handle> handle) -> Status {
        if (!handle) {
            return tl::unexpected(handle.error());
        }
        handles.push_back(std::move(*handle));
        return {};
    };
    for (const int signal : {SIGTERM, SIGINT}) {
        if (auto added = keep((*loop)->on_signal(signal,
                                                 [&] {
                                                     self.end();
                                                     (*loop)->stop();
                                                 }));
            !added) {
            return added;
        }
    }

    std::function<void()> handle_hangup = [] {};  // until there is something to reload
    if (auto added = keep((*loop)->on_signal(SIGHUP, [&] { handle_hangup(); })); !added) {
        return added;
    }

    auto server = Server::listen(**loop, config.control_socket);
    if (!server) {
        return tl::unexpected(server.error());
    }
    auto problems = port_problems(config);
    if (!problems) {
        return tl::unexpected(problems.error());
    }
    auto opened = Steering::open(config, MILLRACE_MAX_LOCAL, ruleset());
    if (!opened) {
        return tl::unexpected(opened.error());
    }
    Steering& steering = *opened;
    for (size_t p = 0; p < problems->size(); ++p) {
        if ((*problems)[p].empty()) {
            (*problems)[p] = steering.problem(PortId{static_cast<uint16_t>(p)});
        }
    }
    const auto is_open = [](const std::string& problem) { return problem.empty(); };
    if (std::none_of(problems->begin(), problems->end(), is_open)) {
        return fail(problems->front());
    }
    Reload next_config(options.config, config, self.cpus(), steering);
    handle_hangup = [&] { next_config.run_and_log(); };
    warn_of_queues(config);
    const auto eal = Eal::start(config);
    if (!eal) {
        return tl::unexpected(eal.error());
    }
    steering.watch_own_end();
    steering.watch();  // from here on threads stay off the workers' cores
    const auto pool = create_packet_pool(static_cast<uint32_t>(packet_buffers(config)));
    if (!pool) {
        return tl::unexpected(pool.error());
    }
    const UnboundWork unbound_work(config.workers.cores, unbound_record(config));
    if (!unbound_work.problem().empty()) {
        spdlog::info("the kernel's unbound work may run on workers' cores: {}", unbound_work.problem());
    }
    const Ended ports_ended;
    OpenPorts open = open_ports(config, std::move(*problems), pool->get());
    if (std::none_of(open.problems.begin(), open.problems.end(), is_open)) {
        return fail(open.problems.front());
    }
    const auto tables =
        Tables::create(config.ports, config.sizes, static_cast<unsigned>(config.workers.cores.size()));
    if (!tables) {
        return tl::unexpected(tables.error());
    }
    const auto punter = Punter::start(std::move(open.taps), config.sizes.punt_ring, config.punt.rate,
                                      config.steering.late_ms());
    if (!punter) {
        return tl::unexpected(punter.error());
    }
    const Ended workers_ended;
    const auto workers =
        WorkerSet::start(config.workers, open.ports, **tables, (*punter)->rings(), config.steering.late_ms());
    if (!workers) {
        return tl::unexpected(workers.error());
    }

    if (std::none_of(open.refused.begin(), open.refused.end(), [](bool refused) { return refused; })) {
        self.restarts().none_is_refused();
    }
    PortStates states(open, steering, **tables);
    states.set_drained(self.drained());
    const Ended keeper_ended;
    const auto keeper = PortKeeper::start(PortKeeper::kept(config, open, **punter, steering),
                                          config.steering.pin_root, config.workers.cores.size());
    next_config.ask_queues([&](const std::string& port) { return keeper->queues_of(port); });
    (*tables)->observe(
        {.interface_changed = [&](PortId port,
                                  const Interface* interface) { states.interface_changed(port, interface); },
         .local_changed = [&](const IpAddress& a, bool present) { steering.set_local(a, present); },
         .keeps_changed = [&](std::span<const Keep> keeps) { steering.set_keeps(keeps); }});
    std::vector<std::string> names;
    for (const PortConfig& port : config.ports) {
        names.push_back(port.name);
    }
    sync::FibSync::Options sync_options;
    sync_options.receive_buffer = config.sync.receive_buffer;
    sync_options.audit.cpu_share = config.audit.cpu_percent / 100;
    const Ended sync_ended;
    const auto sync = sync::FibSync::create(**tables, names, sync_options);
    if (!sync) {
        return tl::unexpected(sync.error());
    }

    std::vector<int> news = (*sync)->policy_fds();
    news.push_back((*sync)->event_fd());
    const auto heart = Heart::start({open.ports, **workers, **punter, std::move(news), steering}, config);
    PuntRelief relief(names, **punter, **workers, **tables, steering);
    const auto follow_firewall = [&] {
        steering.follow_firewall(
            [&](std::set<Ifindex> devices) { (*sync)->keep_egress(std::move(devices)); });
    };
    follow_firewall();

    const Running running{open.ports, **tables, **workers, **punter, steering, states};
    const Telemetry telemetry(running);
    const Metrics metrics(**loop, {running, **sync, *heart, **pool, config});
    (*server)->add_show("ports", show_ports(running));
    (*server)->add_show("counters", show_counters(running));
    (*server)->add_show("workers", show_workers(running));
    (*server)->add_show("steering", show_steering(running, [&] { return (*sync)->mirror().kept_routes(); }));
    (*server)->add_show("routes", sync::show_routes((*sync)->mirror()));
    (*server)->add_show("nexthops", sync::show_nexthops((*sync)->mirror()));
    (*server)->add_show("neighbors", sync::show_neighbors((*sync)->mirror(), (*sync)->neighbour_care()));
    (*server)->add_show("sync", sync::show_sync(**sync));
    (*server)->add_show("explain",
                        show_explain({.running = running,
                                      .pin_root = config.steering.pin_root,
                                      .routes = sync::show_routes((*sync)->mirror()),
                                      .hop = [&](AdjacencyId id) { return hop_of((*sync)->mirror(), id); }}));

    (*server)->add_action("drain", drain_ports(running, states));
    (*server)->add_action("undrain", undrain_ports(running, states));
    (*server)->add_action("reload", reload(next_config));

    (*server)->add_show("verify", sync::verify(**sync));
    (*server)->add_show("plant", debug_hooks ? sync::plant(**sync) : refuse_plant());
    if (debug_hooks) {
        spdlog::warn("--debug-hooks: whoever may use {} can make the fast path forward wrongly",
                     config.control_socket);
    }

    bool enabled = false;
    Status enabling;
    const auto enable_once_synced = [&] {
        if (enabled || !(*sync)->synced()) {
            return;
        }
        enabled = true;
        heart->begin();
        enabling = steering.enable(true);
        if (!enabling) {
            (*loop)->stop();
            return;
        }
        spdlog::info("the mirror is complete: transit goes to the fast path");
        sd_notify(0, "READY=1\nSTATUS=forwarding");
    };
    for (auto added :
         {keep((*loop)->on_io((*sync)->event_fd(), EPOLLIN,
                              [&](uint32_t) {
                                  (*sync)->on_event_readable();
                                  heart->turn(**sync);
                              })),
          keep((*loop)->on_io((*sync)->dump_fd(), EPOLLIN, [&](uint32_t) { (*sync)->on_dump_readable(); })),
          keep((*loop)->on_io((*sync)->work_fd(), EPOLLIN, [&](uint32_t) { (*sync)->tick(); })),
          keep((*loop)->every(sync_tick_us,
                              [&] {
                                  (*sync)->tick();
                                  (*tables)->commit();  // grace periods that have ended since the last change
                                  heart->turn(**sync);
                                  enable_once_synced();
                              })),
          keep((*loop)->every(PuntRelief::period_us, [&] { relief.look(); })),
          keep((*loop)->every(room_period_us,
                              [&] {
                                  (*tables)->tell_room();
                                  tell_of_lost_log_lines();
                              })),
          keep((*loop)->on_io(steering.watch_fd(), EPOLLIN, [&](uint32_t) { steering.look(); })),
          keep((*loop)->on_io(steering.firewall_fd(), EPOLLIN, [&](uint32_t) { follow_firewall(); })),
          keep((*loop)->every(steering_poll_us, [&] { steering.poll(); })),
          keep((*loop)->every(Heart::tell_us, [&] {
              states.probe();
              states.found(keeper->findings());
              heart->tell();
              if (heart->moves()) {
                  // Also before it is ready: the watchdog goes on when the daemon starts itself again.
                  sd_notify(0, "WATCHDOG=1");
              }
              const uint64_t now = sync::FibSync::now_ms();
              if (next_config.wants_restart()) {
                  self.start_again(false);
                  (*loop)->stop();
                  return;
              }
              if (!enabled || self.restarts().next_ms(now) > now) {
                  return;
              }
              const std::string* port = states.to_be_opened(false);
              const bool for_refused = port == nullptr && self.restarts().next_for_refused_ms(now) <= now;
              if (for_refused) {
                  port = states.to_be_opened(true);
              }
              if (port != nullptr && next_config.good(now)) {
                  spdlog::info("port {} can be opened: millraced starts again", *port);
                  self.start_again(for_refused);
                  (*loop)->stop();
              }
          }))}) {
        if (!added) {
            return added;
        }
    }

    for (const int fd : (*sync)->policy_fds()) {
        if (auto added = keep((*loop)->on_io(fd, EPOLLIN, [&](uint32_t) { (*sync)->on_policy_readable(); }));
            !added) {
            return added;
        }
    }

    (*sync)->start();
    const Status ran = (*loop)->run();

    const bool again = self.starts_again();
    sd_notify(0,
              again ? "WATCHDOG=1\nSTATUS=starting again" : "STOPPING=1\nSTATUS=handing over to the kernel");
    const Status disabled = steering.enable(false);
    if (Drain rest(open.ports, all_of(open.ports), **workers, **punter); !rest.wait(drain_deadline)) {
        spdlog::warn("not empty at the end: {}", rest.left());
    }
    for (size_t p = 0; p < open.ports.size(); ++p) {
        const auto now = steering::attached(open.ports[p].name(), config.steering.pin_root);
        const auto ours = steering.attached(PortId{static_cast<uint16_t>(p)});
        if (!now || !ours || now->maps_id != ours->maps_id) {
            open.ports[p].leave();
        }
    }
    if (again) {
        // Neighbours stay managed: the next life knows its own by their protocol number.
        if (!next_config.wants_restart()) {
            self.restarts().count(sync::FibSync::now_ms(), self.for_refused());
        }
        self.set_drained(states.drained());
    } else {
        (*sync)->give_back_neighbours();
    }
    spdlog::info("stopped: transit is left to the kernel");
    for (const Status& status : {enabling, ran, disabled}) {
        if (!status) {
            return status;
        }
    }
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    // Before it can be obeyed, too, a reload ends nothing. A signal that is blocked is read all the same.
    std::signal(SIGHUP, SIG_IGN);
    Self self(argv);
    CLI::App app{"millraced: forwards what the classifier steers to it, by the kernel's routes"};
    Options options;
    app.add_option("--config", options.config, "configuration file (TOML)")->capture_default_str();
    app.add_flag("--check", options.check, "check the configuration against this machine, and end");
    app.add_flag("--debug-hooks", options.debug_hooks, "for drills: allow 'millrace debug plant'");
    app.add_flag("--note-end", options.note_end,
                 "for systemd's ExecStopPost: count a crash, give back cores, and end");
    app.set_version_flag("--version", MILLRACE_VERSION);
    app.footer(
        "Needs the classifier on each port first: millrace-steer attach PORT...\n"
        "Example: millraced --check --config /etc/millrace/millrace.toml");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? exit_good : exit_usage;
    }

    const auto config = load_config(options.config);
    if (options.note_end) {
        // Whatever the file has become meanwhile.
        const Config had = config.value_or(Config{});
        start_log(had);
        UnboundWork::give_back(unbound_record(had));
        const Status noted = note_end(had.control_socket);
        return noted ? exit_good : fatal(noted.error());
    }
    if (!config) {
        return fatal(config.error(), exit_config);
    }
    if (auto cores = check_cores(config->workers.cores, self.cpus()); !cores) {
        return fatal(cores.error(), exit_config);
    }
    start_log(*config);
    if (auto ready = preflight(); !ready) {
        return fatal(ready.error());
    }
    warn_of_bypass(*config);
    if (options.check) {
        if (auto good = check(*config, ruleset()); !good) {
            return fatal(good.error());
        }
        flush_log();
        fmt::print("{}: good: {} port(s), {} worker(s)\n", options.config, config->ports.size(),
                   config->workers.cores.size());
        return exit_good;
    }
    if (config->workers.scheduling != Scheduling::normal) {
        prefer_this_process();
    }
    if (!self.started_again()) {
        wait_after_crashes(config->control_socket);
    }
    if (const Status served = serve(*config, options, self); !served) {
        return fatal(served.error());
    }
    flush_log();
    return self.starts_again() ? fatal(self.exec_again()) : exit_good;
}
