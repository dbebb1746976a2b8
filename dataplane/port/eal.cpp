// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/port/eal.hpp"

#include <bpf/libbpf.h>
#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <xdp/libxdp.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "dataplane/port/kick.hpp"
#include "dataplane/port/rings.hpp"
#include "millrace/abi.h"

namespace millrace::dataplane {

namespace {

constexpr size_t object_size = 4096;
// What DPDK itself and rings, telemetry and drivers need beside the packet buffers.
constexpr size_t eal_megabytes = 64;

size_t free_hugepage_bytes() {
    size_t total = 0;
    std::error_code ignored;
    for (const auto& dir : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
        const std::string name = dir.path().filename();  // hugepages-2048kB
        size_t pages = 0;
        std::ifstream(dir.path() / "free_hugepages") >> pages;
        const auto dash = name.find('-');
        if (pages > 0 && dash != std::string::npos) {
            total += pages * std::stoul(name.substr(dash + 1)) * 1024;
        }
    }
    return total;
}

void log_line(spdlog::level::level_enum level, const char* who, std::string_view line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) {
        line.remove_suffix(1);
    }
    if (!line.empty()) {
        spdlog::log(level, "{}: {}", who, line);
    }
}

// DPDK writes its messages to a FILE; each line of it becomes one of ours.
ssize_t dpdk_line(void*, const char* text, size_t size) {
    const bool error = rte_log_cur_msg_loglevel() <= static_cast<int>(RTE_LOG_ERR);
    log_line(error ? spdlog::level::warn : spdlog::level::debug, "dpdk", {text, size});
    return static_cast<ssize_t>(size);
}

// libxdp and libbpf warn about what is meant to be, such as that the classifier can't be replaced.
int library_line(const char* who, const char* format, va_list arguments) {
    std::array<char, 512> line{};
    const int written = vsnprintf(line.data(), line.size(), format, arguments);
    log_line(spdlog::level::debug, who, line.data());
    return written;
}

// What the threads beside the workers may run on: "0,1". Not the workers' cores, where there are others: the
// one that hands packets to the kernel would take them away from a worker for milliseconds. DPDK refuses a
// list with a CPU that is offline, or beyond its limit.
std::string cpus_beside(const std::vector<uint16_t>& workers) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    cpu_set_t beside = allowed;
    for (const uint16_t core : workers) {
        CPU_CLR(core, &beside);
    }
    if (CPU_COUNT(&beside) > 0) {
        allowed = beside;
    }
    std::string list;
    for (unsigned cpu = 0; cpu < RTE_MAX_LCORE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed)) {
            list += (list.empty() ? "" : ",") + std::to_string(cpu);
        }
    }
    return list;
}

void send_logs_to_spdlog() {
    cookie_io_functions_t io{};
    io.write = dpdk_line;
    FILE* stream = fopencookie(nullptr, "w", io);
    if (stream != nullptr) {
        setvbuf(stream, nullptr, _IOLBF, 1024);
        rte_openlog_stream(stream);
    }
    libxdp_set_print([](libxdp_print_level, const char* format, va_list arguments) {
        return library_line("libxdp", format, arguments);
    });
    libbpf_set_print([](libbpf_print_level, const char* format, va_list arguments) {
        return library_line("libbpf", format, arguments);
    });
}

}  // namespace

Result<std::unique_ptr<Eal>> Eal::start(const Config& config) {
    const size_t wanted = packet_buffers(config) * object_size + (eal_megabytes << 20);
    const bool hugepages = free_hugepage_bytes() >= wanted;

    // Without this, libxdp would put a program of its own, which redirects everything, on a port that lost
    // its classifier. With an empty search path it fails, and the port's traffic stays in the kernel.
    setenv("LIBXDP_OBJECT_PATH", "/nonexistent", 1);  // NOLINT(concurrency-mt-unsafe): one thread yet

    std::string lcores = "0@(" + cpus_beside(config.workers.cores) + ")";
    for (size_t i = 0; i < config.workers.cores.size(); ++i) {
        lcores += "," + std::to_string(i + 1) + "@" + std::to_string(config.workers.cores[i]);
    }
    std::vector<std::string> arguments = {"millraced",    "--no-pci", "--iova-mode=va", "--lcores", lcores,
                                          "--main-lcore", "0",        "--file-prefix",  "millrace"};
    if (hugepages) {
        arguments.emplace_back("--in-memory");  // no hugetlbfs mount, no files; refuses --no-huge
    } else {
        arguments.insert(arguments.end(), {"--no-shconf", "--no-huge", "-m", std::to_string(wanted >> 20)});
    }
    std::vector<char*> argv;
    argv.reserve(arguments.size());
    for (std::string& a : arguments) {
        argv.push_back(a.data());
    }
    send_logs_to_spdlog();
    rte_log_set_global_level(RTE_LOG_INFO);
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        return fail("DPDK did not start (its reason is in the log above)", rte_errno);
    }
    if (auto bounded = kicks_are_bounded(); !bounded) {
        return tl::unexpected(bounded.error());
    }
    spdlog::info("DPDK started with {} packet buffers in {}", packet_buffers(config),
                 hugepages ? "hugepages" : "4 kB pages: too few free hugepages");
    return std::unique_ptr<Eal>(new Eal(hugepages));
}

Eal::~Eal() {
    // It closes what is still open: see ~AfXdpPort(). What it would free ends with the process all the same.
    if (rte_eth_dev_count_avail() == 0) {
        rte_eal_cleanup();
    }
}

void MempoolDeleter::operator()(rte_mempool* pool) const {
    rte_mempool_free(pool);
}

Result<Mempool> create_packet_pool(uint32_t count) {
    // Object = mempool header + mbuf + data room.
    constexpr uint32_t header = RTE_ALIGN_CEIL(sizeof(rte_mempool_objhdr), RTE_MEMPOOL_ALIGN);
    constexpr uint32_t element = object_size - header;
    constexpr auto data_room = static_cast<uint16_t>(element - sizeof(rte_mbuf));
    static_assert(data_room - RTE_PKTMBUF_HEADROOM - 256 == MILLRACE_MAX_FRAME,
                  "256 = XDP_PACKET_HEADROOM, which the kernel keeps free before a frame");

    Mempool pool(rte_mempool_create_empty("packets", count, element, 256, sizeof(rte_pktmbuf_pool_private),
                                          SOCKET_ID_ANY,
                                          RTE_MEMPOOL_F_NO_SPREAD | RTE_MEMPOOL_F_NO_IOVA_CONTIG));
    if (!pool) {
        return fail("no memory for the packet pool; lower [sizes] mbufs", rte_errno);
    }
    if (rte_mempool_calc_obj_size(element, pool->flags, nullptr) != object_size) {
        return fail(
            "this DPDK build pads mempool objects (debug build?); millrace needs them to be 4096 bytes");
    }
    if (const int error = rte_mempool_set_ops_byname(pool.get(), rte_mbuf_best_mempool_ops(), nullptr);
        error != 0) {
        return fail("packet pool", -error);
    }
    rte_pktmbuf_pool_private room{};
    room.mbuf_data_room_size = data_room;
    rte_pktmbuf_pool_init(pool.get(), &room);

    const size_t bytes = size_t{count} * object_size;
    const rte_memzone* zone =
        rte_memzone_reserve_aligned("packets_memory", bytes, SOCKET_ID_ANY, 0, object_size);
    if (zone == nullptr) {
        return fail(
            fmt::format("no {} MB of memory for {} packet buffers; lower [sizes] mbufs", bytes >> 20, count),
            rte_errno);
    }
    const int populated = rte_mempool_populate_iova(pool.get(), static_cast<char*>(zone->addr), RTE_BAD_IOVA,
                                                    bytes, nullptr, nullptr);
    if (populated != static_cast<int>(count)) {
        return fail(fmt::format("packet pool: {} of {} buffers fit", populated, count));
    }
    rte_mempool_obj_iter(pool.get(), rte_pktmbuf_init, nullptr);
    return pool;
}

}  // namespace millrace::dataplane
