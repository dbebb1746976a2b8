// SPDX-License-Identifier: BSD-3-Clause
// millraced: the forwarder and the mirror. main() is the ordered list of what is started; what is declared
// later is torn down first. The only place that sees both fib_sync and the dataplane.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "dataplane/config/config_file.hpp"
#include "dataplane/control/server.hpp"
#include "dataplane/daemon/preflight.hpp"
#include "dataplane/daemon/show.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/daemon/telemetry.hpp"
#include "dataplane/port/eal.hpp"
#include "fib_sync/fib_sync.hpp"
#include "fib_sync/show.hpp"
#include "fib_sync/verify.hpp"

using namespace millrace;
using namespace millrace::dataplane;

namespace {

constexpr uint64_t heartbeat_period_us = 20'000;  // under half of the shortest timeout that may be configured
constexpr uint64_t sync_tick_us = 5'000;
constexpr uint64_t steering_poll_us = Steering::poll_ms * 1000;
constexpr auto drain_time =
    std::chrono::milliseconds(20);  // what is in the rings when steering ends is forwarded

struct Options {
    std::string config = "/etc/millrace/millrace.toml";
    bool check = false;
    bool debug_hooks = false;
};

int fatal(const Error& error) {
    fmt::print(stderr, "millraced: {}\n", error.text());
    return 1;
}

void start_log(const std::string& level) {
    auto logger = spdlog::stderr_logger_mt("millraced");
    // Under systemd the journal adds the time, and reads the priority from the prefix.
    spdlog::set_default_logger(logger);
    spdlog::set_level(spdlog::level::from_str(level));
    spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
}

Result<std::vector<AfXdpPort>> open_ports(const Config& config, rte_mempool* pool) {
    std::vector<AfXdpPort> ports;
    for (const PortConfig& port : config.ports) {
        auto opened = AfXdpPort::open(port, pool, config.sizes.ring);
        if (!opened) {
            return tl::unexpected(opened.error());
        }
        spdlog::info("port {}: {} queue(s), {} sockets", port.name, port.queues,
                     opened->zero_copy() ? "zero-copy" : "copy-mode");
        ports.push_back(std::move(*opened));
    }
    return ports;
}

Result<std::vector<Tap>> make_taps(const Config& config) {
    std::vector<Tap> taps;
    for (const PortConfig& port : config.ports) {
        auto tap = Tap::create(port.name);
        if (!tap) {
            return tl::unexpected(tap.error());
        }
        taps.push_back(std::move(*tap));
    }
    return taps;
}

RowOpener refuse_plant() {
    return [](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return fail("millraced was started without --debug-hooks");
    };
}

Status serve(const Config& config, bool debug_hooks) {
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
        if (auto added = keep((*loop)->on_signal(signal, [&] { (*loop)->stop(); })); !added) {
            return added;
        }
    }

    auto server = Server::listen(**loop, config.control_socket);
    if (!server) {
        return tl::unexpected(server.error());
    }
    auto steering = Steering::open(config);
    if (!steering) {
        return tl::unexpected(steering.error());
    }
    const auto eal = Eal::start(config);
    if (!eal) {
        return tl::unexpected(eal.error());
    }
    const auto pool = create_packet_pool(config.sizes.mbufs);
    if (!pool) {
        return tl::unexpected(pool.error());
    }
    const auto ports = open_ports(config, pool->get());
    if (!ports) {
        return tl::unexpected(ports.error());
    }
    const auto tables =
        Tables::create(config.ports, config.sizes, static_cast<unsigned>(config.workers.cores.size()));
    if (!tables) {
        return tl::unexpected(tables.error());
    }
    auto taps = make_taps(config);
    if (!taps) {
        return tl::unexpected(taps.error());
    }
    const auto punter = Punter::start(std::move(*taps), config.sizes.punt_ring, config.punt.rate);
    if (!punter) {
        return tl::unexpected(punter.error());
    }
    const auto workers = WorkerSet::start(config.workers, *ports, **tables, (*punter)->rings());
    if (!workers) {
        return tl::unexpected(workers.error());
    }

    for (size_t p = 0; p < ports->size(); ++p) {
        (*tables)->bind(PortId{static_cast<uint16_t>(p)}, (*ports)[p].ifindex());
    }
    (*tables)->observe(
        {.interface_changed =
             [&](PortId port, const Interface* interface) {
                 steering->set_usable(port, interface != nullptr && interface->usable);
                 if (interface == nullptr) {
                     spdlog::error(
                         "port {}: its netdev is gone or renamed; its traffic is left to the kernel "
                         "until millraced is started again",
                         config.ports[raw(port)].name);
                     return;
                 }
                 steering->set_mac(port, interface->mac);
                 if (auto set = (*punter)->set_mac(port, interface->mac); !set) {
                     spdlog::warn("{}", set.error().text());
                 }
             },
         .local_changed = [&](const IpAddress& a, bool present) { steering->set_local(a, present); },
         .keeps_changed = [&](std::span<const Keep> keeps) { steering->set_keeps(keeps); }});
    std::vector<std::string> names;
    for (const PortConfig& port : config.ports) {
        names.push_back(port.name);
    }
    sync::FibSync::Options sync_options;
    sync_options.receive_buffer = config.sync.receive_buffer;
    sync_options.audit.cpu_share = config.audit.cpu_percent / 100;
    const auto sync = sync::FibSync::create(**tables, names, sync_options);
    if (!sync) {
        return tl::unexpected(sync.error());
    }

    const Running running{*ports, **tables, **workers, **punter, *steering};
    const Telemetry telemetry(running);
    (*server)->add_show("ports", show_ports(running));
    (*server)->add_show("counters", show_counters(running));
    (*server)->add_show("steering", show_steering(running, [&] { return (*sync)->mirror().kept_routes(); }));
    (*server)->add_show("routes", sync::show_routes((*sync)->mirror()));
    (*server)->add_show("nexthops", sync::show_nexthops((*sync)->mirror()));
    (*server)->add_show("neighbors", sync::show_neighbors((*sync)->mirror(), (*sync)->neighbour_care()));
    (*server)->add_show("sync", sync::show_sync(**sync));

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
        steering->beat();
        enabling = steering->enable(true);
        if (!enabling) {
            (*loop)->stop();
            return;
        }
        spdlog::info("the mirror is complete: transit goes to the fast path");
        sd_notify(0, "READY=1\nSTATUS=forwarding");
    };
    for (auto added :
         {keep((*loop)->on_io((*sync)->event_fd(), EPOLLIN, [&](uint32_t) { (*sync)->on_event_readable(); })),
          keep((*loop)->on_io((*sync)->dump_fd(), EPOLLIN, [&](uint32_t) { (*sync)->on_dump_readable(); })),
          keep((*loop)->on_io((*sync)->work_fd(), EPOLLIN, [&](uint32_t) { (*sync)->tick(); })),
          keep((*loop)->every(sync_tick_us,
                              [&] {
                                  (*sync)->tick();
                                  (*tables)->commit();  // grace periods that have ended since the last change
                                  enable_once_synced();
                              })),
          keep((*loop)->every(steering_poll_us, [&] { steering->poll(); })),
          keep((*loop)->every(heartbeat_period_us, [&] {
              if (enabled && (*workers)->all_made_progress()) {
                  steering->beat();
                  sd_notify(0, "WATCHDOG=1");
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

    sd_notify(0, "STOPPING=1\nSTATUS=handing over to the kernel");
    const Status disabled = steering->enable(false);
    std::this_thread::sleep_for(drain_time);
    (*sync)->give_back_neighbours();
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
    CLI::App app{"millraced: forwards what the classifier steers to it, by the kernel's routes"};
    Options options;
    app.add_option("--config", options.config, "configuration file (TOML)")->capture_default_str();
    app.add_flag("--check", options.check, "check the configuration against this machine, and end");
    app.add_flag("--debug-hooks", options.debug_hooks, "for drills: allow 'millrace debug plant'");
    app.set_version_flag("--version", MILLRACE_VERSION);
    app.footer(
        "Needs the classifier on each port first: millrace-steer attach PORT...\n"
        "Example: millraced --check --config /etc/millrace/millrace.toml");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? 0 : 2;
    }

    const auto config = load_config(options.config);
    if (!config) {
        return fatal(config.error());
    }
    start_log(config->log_level);
    if (auto ready = preflight(*config); !ready) {
        return fatal(ready.error());
    }
    if (options.check) {
        warn_of_hidden_tags(*config);
        fmt::print("{}: good: {} port(s), {} worker(s)\n", options.config, config->ports.size(),
                   config->workers.cores.size());
        return 0;
    }
    const Status served = serve(*config, options.debug_hooks);
    return served ? 0 : fatal(served.error());
}
