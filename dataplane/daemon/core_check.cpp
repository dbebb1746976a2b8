// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/core_check.hpp"

#include <fmt/core.h>

#include <cctype>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

namespace millrace::dataplane {

namespace {

namespace fs = std::filesystem;

constexpr double busy_share = 0.1;         // of a core, by others: below, it is what every core has
constexpr uint64_t busy_interrupts = 100;  // in the sample, of one interrupt

std::string first_line(const fs::path& path) {
    std::string line;
    std::ifstream file(path);
    std::getline(file, line);
    return line;
}

struct CoreTime {
    uint64_t idle = 0;  // ticks, waiting for I/O too
    uint64_t all = 0;
};

// proc_stat(5): cpuN user nice system idle iowait irq softirq steal ...; guest time is in user time already.
std::optional<CoreTime> core_time(const fs::path& root, unsigned core) {
    std::ifstream stat(root / "proc/stat");
    const std::string wanted = fmt::format("cpu{}", core);
    for (std::string line; std::getline(stat, line);) {
        std::istringstream words(line);
        std::string name;
        words >> name;
        if (name != wanted) {
            continue;
        }
        CoreTime time;
        uint64_t ticks = 0;
        for (int field = 0; field < 8 && words >> ticks; ++field) {
            time.idle += field == 3 || field == 4 ? ticks : 0;
            time.all += ticks;
        }
        return time;
    }
    return std::nullopt;
}

struct Interrupt {
    uint64_t count = 0;
    std::string what;
};

// Devices' interrupts of a core, by number; those with names (timer, IPIs) are of every core.
std::map<std::string, Interrupt> interrupts(const fs::path& root, unsigned core) {
    std::ifstream file(root / "proc/interrupts");
    std::string line;
    std::getline(file, line);
    // Offline cores have no column.
    std::istringstream title(line);
    const std::string wanted = fmt::format("CPU{}", core);
    std::optional<size_t> column;
    size_t columns = 0;
    for (std::string name; title >> name; ++columns) {
        column = name == wanted ? std::optional(columns) : column;
    }
    std::map<std::string, Interrupt> found;
    while (column && std::getline(file, line)) {
        std::istringstream words(line);
        std::string number;
        words >> number;
        if (number.empty() || std::isdigit(static_cast<unsigned char>(number.front())) == 0) {
            continue;
        }
        Interrupt interrupt;
        uint64_t count = 0;
        for (size_t c = 0; c < columns && words >> count; ++c) {
            interrupt.count = c == *column ? count : interrupt.count;
        }
        for (std::string word; words >> word;) {
            interrupt.what = word;  // the last one is the device's name
        }
        number.pop_back();
        found.emplace(number, std::move(interrupt));
    }
    return found;
}

// -1: the machine does not say.
int node_of_core(const fs::path& root, unsigned core) {
    std::error_code ignored;
    for (const auto& entry :
         fs::directory_iterator(root / fmt::format("sys/devices/system/cpu/cpu{}", core), ignored)) {
        const std::string name = entry.path().filename();
        if (name.starts_with("node") && name.size() > 4 &&
            std::isdigit(static_cast<unsigned char>(name[4])) != 0) {
            return std::stoi(name.substr(4));
        }
    }
    return -1;
}

int node_of_port(const fs::path& root, const std::string& port) {
    int node = -1;
    std::ifstream(root / "sys/class/net" / port / "device/numa_node") >> node;
    return node;
}

}  // namespace

std::vector<std::string> core_problems(const Config& config, const std::function<void()>& wait,
                                       const fs::path& root) {
    struct Before {
        std::optional<CoreTime> time;
        std::map<std::string, Interrupt> interrupts;
    };
    std::map<unsigned, Before> before;
    for (const uint16_t core : config.workers.cores) {
        before[core] = {core_time(root, core), interrupts(root, core)};
    }
    wait();
    std::vector<std::string> problems;
    for (const uint16_t core : config.workers.cores) {
        const Before& then = before[core];
        const auto now = core_time(root, core);
        if (then.time && now && now->all > then.time->all) {
            const auto all = static_cast<double>(now->all - then.time->all);
            const double share = 1 - static_cast<double>(now->idle - then.time->idle) / all;
            if (share > busy_share) {
                problems.push_back(fmt::format(
                    "core {} of a worker is {:.0f} % busy; unless that is millraced itself, keep other programs off it, "
                    "for instance with isolcpus or CPUAffinity",
                    core, share * 100));
            }
        }
        for (const auto& [number, interrupt] : interrupts(root, core)) {
            const auto old = then.interrupts.find(number);
            const uint64_t count = old == then.interrupts.end() ? 0 : interrupt.count - old->second.count;
            if (count > busy_interrupts) {
                problems.push_back(
                    fmt::format("interrupt {} ({}) comes to core {} of a worker; "
                                "/proc/irq/{}/smp_affinity_list says where else it may",
                                number, interrupt.what, core, number));
            }
        }
        const std::string governor =
            first_line(root / fmt::format("sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", core));
        if (!governor.empty() && governor != "performance") {
            problems.push_back(fmt::format(
                "core {} of a worker has the frequency governor {}: its first packets wait for the clock; "
                "'cpupower -c {} frequency-set -g performance'",
                core, governor, core));
        }
        const int node = node_of_core(root, core);
        for (const PortConfig& port : config.ports) {
            const int other = node_of_port(root, port.name);
            if (node >= 0 && other >= 0 && node != other) {
                problems.push_back(
                    fmt::format("port {} is of NUMA node {}, core {} of a worker of node {}: each packet "
                                "crosses between them",
                                port.name, other, core, node));
            }
        }
    }
    return problems;
}

}  // namespace millrace::dataplane
