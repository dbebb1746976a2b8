// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/port_keeper.hpp"

#include <net/if.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "dataplane/daemon/preflight.hpp"
#include "dataplane/port/xsk.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

namespace {

constexpr auto period = std::chrono::milliseconds(250);
constexpr unsigned longest_pause = 120;  // rounds: 30 s
constexpr unsigned rounds_a_minute = 240;
constexpr unsigned longest_tap_pause = rounds_a_minute;
constexpr unsigned free_repairs = 6;
constexpr size_t descriptors_of_a_round = 8;
constexpr auto upgrade_time = std::chrono::milliseconds(50);

bool is_up(const std::string& netdev) {
    const steering::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    netdev.copy(request.ifr_name, IFNAMSIZ - 1);
    return socket && ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

// Without them nothing can be asked, and a port would seem to have no netdev, or another's classifier.
bool has_descriptors() {
    std::array<steering::Fd, descriptors_of_a_round> taken;
    for (steering::Fd& fd : taken) {
        fd = steering::Fd(eventfd(0, EFD_CLOEXEC));
    }
    return std::all_of(taken.begin(), taken.end(),
                       [](const steering::Fd& fd) { return static_cast<bool>(fd); });
}

}  // namespace

PortKeeper::PortKeeper(std::vector<Kept> ports, std::string pin_root, size_t workers)
    : ports_(std::move(ports)),
      pin_root_(std::move(pin_root)),
      workers_(workers),
      attempts_(ports_.size()),
      cares_(ports_.size()),
      findings_(ports_.size()) {}

std::vector<PortKeeper::Kept> PortKeeper::kept(const Config& config, const OpenPorts& open, Punter& punter,
                                               const Steering& steering) {
    std::vector<Kept> kept;
    for (size_t p = 0; p < config.ports.size(); ++p) {
        const PortId id{static_cast<uint16_t>(p)};
        kept.push_back({.config = config.ports[p],
                        .port = &open.ports[p],
                        .tap = punter.tap(id),
                        .attached = steering.attached(id)});
    }
    return kept;
}

std::unique_ptr<PortKeeper> PortKeeper::start(std::vector<Kept> ports, std::string pin_root, size_t workers) {
    std::unique_ptr<PortKeeper> keeper(new PortKeeper(std::move(ports), std::move(pin_root), workers));
    keeper->thread_ = std::thread([k = keeper.get()] { k->run(); });
    pthread_setname_np(keeper->thread_.native_handle(), "millrace-ports");
    return keeper;
}

PortKeeper::~PortKeeper() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

std::vector<PortFinding> PortKeeper::findings() const {
    const std::lock_guard lock(mutex_);
    return findings_;
}

uint32_t PortKeeper::queues_of(const std::string& port) const {
    const std::lock_guard lock(mutex_);
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (ports_[p].config.name == port) {
            return findings_[p].queues;
        }
    }
    return 0;
}

void PortKeeper::run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        lock.unlock();
        ++round_;
        const bool enough = has_descriptors();
        std::vector<PortFinding> found;
        for (size_t p = 0; p < ports_.size() && enough; ++p) {
            found.push_back(look(p));
        }
        const bool says_something = enough && has_descriptors();
        lock.lock();
        if (says_something) {
            findings_ = std::move(found);
        }
        wake_.wait_for(lock, period, [this] { return stop_; });
    }
}

PortFinding PortKeeper::look(size_t port) {
    const Kept& kept = ports_[port];
    const auto ifindex = steering::netdev_index(kept.config.name);
    const bool same_netdev = ifindex.value_or(Ifindex{}) == kept.port->ifindex();
    PortFinding found;
    if (kept.port->is_open() && kept.port->alive() && same_netdev) {
        found = look_at_open(port);
    } else {
        found.obstacle = obstacle(port);
        found.openable = found.obstacle.empty();
    }
    // Asked for a netdev that is not there, the kernel would look for a module of that name.
    found.queues = ifindex ? netdev_queues(kept.config.name) : 0;
    return found;
}

// An upgrade switches to new maps before these have their names.
Result<steering::Attached> PortKeeper::classifier_of(const Kept& kept) const {
    auto now = steering::attached(kept.config.name, pin_root_);
    if (!now) {
        std::this_thread::sleep_for(upgrade_time);
        now = steering::attached(kept.config.name, pin_root_);
    }
    return now;
}

PortFinding PortKeeper::look_at_open(size_t port) {
    Kept& kept = ports_[port];
    PortFinding found{.problem = keep_tap(port), .obstacle = {}};
    const auto now = classifier_of(kept);
    if (!now) {
        found.problem = now.error().text();
        return found;
    }
    const steering::Attached& ours = *kept.attached;
    if (now->maps_id != ours.maps_id || now->sees != ours.sees) {
        found.problem = now->maps_id == ours.maps_id
                            ? "its classifier was replaced by one that sees other things"
                            : "its classifier was detached, or replaced, and attached anew";
        found.openable = is_up(kept.config.name);
        return found;
    }
    if (now->program_id != ours.program_id) {
        spdlog::info("port {}: its classifier was replaced (program {} by {}), its maps stay",
                     kept.config.name, ours.program_id, now->program_id);
        kept.attached = *now;
    }
    const size_t served = kept.port->queues().size();
    if (served < kept.config.queues) {
        // A netdev that had fewer queues than configured may have more now.
        const uint16_t have = queues_to_serve(kept.config);
        found.openable =
            have > served && attempt(port, kept.port->ifindex(), static_cast<uint16_t>(served), have).empty();
    }
    return found;
}

// Empty: nothing is known to be wrong with it.
std::string PortKeeper::keep_tap(size_t port) {
    const Kept& kept = ports_[port];
    Tap& tap = *kept.tap;
    TapCare& care = cares_[port];
    const Result<TapFault> fault = tap.check();
    if (!fault || *fault == TapFault::none) {
        return {};
    }
    std::string text = fmt::format("its TAP {} {}", tap.name(), text_of(*fault));
    if (round_ < care.next_round) {
        return text;
    }
    const bool set_up = *fault == TapFault::down && tap.set_up().has_value();
    if (!set_up) {
        if (const Status made = tap.make_again(); !made) {
            return fmt::format("{}: {}", text, made.error().text());
        }
    }
    // Somebody may undo each repair at once: less and less often, until all is well for some minutes.
    care.repaired = round_ > care.next_round + uint64_t{2} * longest_tap_pause ? 1 : care.repaired + 1;
    const unsigned doubled = std::max(care.repaired, free_repairs) - free_repairs;
    care.next_round = round_ + std::min(1U << std::min(doubled, 16U), longest_tap_pause);
    if (care.told != *fault || round_ >= care.next_word) {
        spdlog::warn("port {}: {}; it was {} again", kept.config.name, text, set_up ? "set up" : "made");
        care.told = *fault;
        care.next_word = round_ + rounds_a_minute;
    }
    return {};
}

// Empty: there is none.
std::string PortKeeper::obstacle(size_t port) {
    const Kept& kept = ports_[port];
    const std::string& name = kept.config.name;
    if (const Status netdev = check_netdev(kept.config, workers_); !netdev) {
        return netdev.error().text();
    }
    if (!is_up(name)) {
        return "the netdev is down";
    }
    if (!steering::has_pins(name, pin_root_)) {
        return fmt::format("no classifier attached; run 'millrace-steer attach {}'", name);
    }
    const auto ifindex = steering::netdev_index(name);
    return ifindex ? attempt(port, *ifindex, 0, queues_to_serve(kept.config)) : ifindex.error().text();
}

// Empty: the port has its classifier, and each of the queues has room for a socket.
std::string PortKeeper::attempt(size_t port, Ifindex ifindex, uint16_t first, uint16_t end) {
    const Kept& kept = ports_[port];
    Attempts& attempts = attempts_[port];
    if (attempts.ifindex != ifindex || attempts.end != end) {
        attempts = {.ifindex = ifindex, .end = end, .error = {}};
    }
    if (round_ < attempts.next_round) {
        return attempts.error;
    }
    Status tried = attach(kept);
    const bool zero_copy = kept.config.zero_copy == ZeroCopy::always;
    // Zero-copy, a driver may reset the queue each time: what went well once isn't tried again.
    for (uint16_t q = first; tried && !(attempts.good && zero_copy) && q < end; ++q) {
        tried = xsk_try(ifindex, q, zero_copy);
    }
    attempts.good = tried.has_value();
    attempts.failed = tried ? 0 : std::min(attempts.failed + 1, 8U);
    attempts.next_round = tried ? 0 : round_ + std::min(1U << attempts.failed >> 1, longest_pause);
    attempts.error = tried ? "" : tried.error().text();
    return attempts.error;
}

// The operator had attached here: what became of the netdev is no reason to ask again.
Status PortKeeper::attach(const Kept& kept) {
    const std::string& name = kept.config.name;
    if (steering::attached(name, pin_root_)) {
        return {};
    }
    const auto attached = steering::attach_again(
        name,
        {.pin_root = pin_root_, .mode = kept.attached ? kept.attached->mode : steering::Mode::automatic});
    if (!attached) {
        return tl::unexpected(attached.error());
    }
    if (!attached->already_attached) {
        spdlog::info("port {}: classifier attached to its new netdev in {} mode", name,
                     steering::name(attached->mode));
    }
    return {};
}

}  // namespace millrace::dataplane
