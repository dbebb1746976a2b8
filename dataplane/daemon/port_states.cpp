// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/port_states.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "dataplane/daemon/port_text.hpp"

namespace millrace::dataplane {

namespace {

PortId port_id(size_t i) {
    return PortId{static_cast<uint16_t>(i)};
}

}  // namespace

PortStates::PortStates(const OpenPorts& open, Steering& steering, Tables& tables)
    : ports_(open.ports), steering_(steering), tables_(tables) {
    for (size_t p = 0; p < ports_.size(); ++p) {
        const std::string& name = ports_[p].name();
        states_.push_back(
            {.name = name, .not_open = without_port(open.problems[p], name), .refused = open.refused[p]});
        // A closed port has no ifindex: no interface is bound to it.
        tables_.bind(port_id(p), ports_[p].ifindex());
        update(p);
    }
}

void PortStates::set_drained(PortId port, bool drained) {
    states_[raw(port)].drained = drained;
    update(raw(port));
    tables_.set_drained(port, drained);
}

void PortStates::set_drained(const std::vector<std::string>& names) {
    for (size_t p = 0; p < states_.size(); ++p) {
        if (std::find(names.begin(), names.end(), states_[p].name) != names.end()) {
            set_drained(port_id(p), true);
        }
    }
}

std::vector<std::string> PortStates::drained() const {
    std::vector<std::string> names;
    for (const State& state : states_) {
        if (state.drained) {
            names.push_back(state.name);
        }
    }
    return names;
}

void PortStates::interface_changed(PortId port, const Interface* interface) {
    State& state = states_[raw(port)];
    state.interface_usable = interface != nullptr && interface->usable;
    state.away = interface == nullptr;
    probe();
    if (interface != nullptr) {
        steering_.set_mac(port, interface->mac);
    }
    update(raw(port));
}

void PortStates::probe() {
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (!states_[p].dead && !ports_[p].alive()) {
            states_[p].dead = true;
            // Steering first: what is redirected to a dead socket is lost.
            update(p);
            tables_.bind(port_id(p), Ifindex{});
        }
    }
}

void PortStates::found(const std::vector<PortFinding>& findings) {
    for (size_t p = 0; p < states_.size(); ++p) {
        if (states_[p].found != findings[p]) {
            // What DPDK refused has changed since, or is about to.
            states_[p].refused = states_[p].refused && findings[p].obstacle.empty();
            states_[p].found = findings[p];
            update(p);
        }
    }
}

// What does not change by the second while a netdev comes back.
std::string PortStates::lasting_problem(const State& state) {
    if (!state.not_open.empty()) {
        return state.not_open;
    }
    if (state.dead) {
        return "its sockets are dead: the netdev was deleted, or left this network namespace";
    }
    if (state.away) {
        return "its netdev has another name";
    }
    if (state.drained) {
        return "drained by the operator; 'millrace undrain' ends it";
    }
    return without_port(state.found.problem, state.name);
}

std::string PortStates::problem(PortId port) const {
    const State& state = states_[raw(port)];
    std::string text = lasting_problem(state);
    std::string obstacle = without_port(state.found.obstacle, state.name);
    if (!state.not_open.empty() && !obstacle.empty()) {
        return obstacle;
    }
    if (!obstacle.empty() && !text.empty() && obstacle != text) {
        text += "; now: " + obstacle;
    }
    return text;
}

void PortStates::update(size_t port) {
    State& state = states_[port];
    const std::string problem = lasting_problem(state);
    steering_.set_usable(port_id(port), state.interface_usable && problem.empty());
    if (problem == state.logged) {
        return;
    }
    if (problem.empty()) {
        spdlog::info("port {}: back on the fast path", state.name);
    } else {
        spdlog::warn("port {}: {}; its traffic is left to the kernel", state.name, problem);
    }
    state.logged = problem;
}

const std::string* PortStates::to_be_opened(bool refused_too) const {
    for (const State& state : states_) {
        if (state.found.openable && (refused_too || !state.refused)) {
            return &state.name;
        }
    }
    return nullptr;
}

}  // namespace millrace::dataplane
