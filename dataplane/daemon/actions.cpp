// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/actions.hpp"

#include <spdlog/spdlog.h>

#include <chrono>

#include "dataplane/daemon/drain.hpp"
#include "dataplane/daemon/few_rows.hpp"

namespace millrace::dataplane {

namespace {

using Clock = std::chrono::steady_clock;
// Far more than full rings need; what is left then waits for a netdev that sends nothing.
constexpr auto longest = std::chrono::seconds(1);

Result<std::vector<PortId>> ports_of(const Running& running, const ShowArguments& arguments) {
    const auto named = arguments.find("port");
    std::vector<PortId> ports;
    for (size_t p = 0; p < running.ports.size(); ++p) {
        if (named == arguments.end() || named->second == running.ports[p].name()) {
            ports.push_back(PortId{static_cast<uint16_t>(p)});
        }
    }
    if (ports.empty()) {
        return fail(fmt::format("no port is called {}; 'millrace show ports' lists them", named->second));
    }
    return ports;
}

class DrainRows : public RowSource {
  public:
    DrainRows(Running running, std::vector<PortId> ports)
        : running_(running),
          ports_(std::move(ports)),
          drain_(running.ports, ports_, running.workers, running.punter),
          end_(Clock::now() + longest) {}
    Step next(std::string& row) override {
        if (!finished_) {
            if (!drain_.done() && Clock::now() < end_) {
                return Step::later;
            }
            finished_ = true;
            left_ = drain_.left();
        }
        if (next_ == ports_.size()) {
            return Step::end;
        }
        row = text_of({{"port", running_.ports[raw(ports_[next_++])].name()},
                       {"left", left_.empty() ? Row(nullptr) : Row(left_)}});
        return Step::row;
    }

  private:
    Running running_;
    std::vector<PortId> ports_;
    Drain drain_;
    Clock::time_point end_;
    bool finished_ = false;
    std::string left_;
    size_t next_ = 0;
};

}  // namespace

RowOpener drain_ports(Running running, PortStates& states) {
    return [running, &states](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        auto ports = ports_of(running, arguments);
        if (!ports) {
            return tl::unexpected(ports.error());
        }
        for (const PortId port : *ports) {
            states.set_drained(port, true);
        }
        return std::make_unique<DrainRows>(running, std::move(*ports));
    };
}

RowOpener undrain_ports(Running running, PortStates& states) {
    return [running, &states](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        const auto ports = ports_of(running, arguments);
        if (!ports) {
            return tl::unexpected(ports.error());
        }
        std::vector<Row> rows;
        for (const PortId port : *ports) {
            states.set_drained(port, false);
            rows.push_back(port_state(running, port));
        }
        return std::make_unique<FewRows>(std::move(rows));
    };
}

RowOpener reload(Reload& reload) {
    return [&reload](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        const auto done = reload.run();
        if (!done) {
            return tl::unexpected(done.error());
        }
        return std::make_unique<FewRows>(
            std::vector<Row>{{{"changed", done->changed}, {"again", done->again}}});
    };
}

}  // namespace millrace::dataplane
