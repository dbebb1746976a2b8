// SPDX-License-Identifier: BSD-3-Clause
// What the daemon knows of one frame's way, for `millrace explain`.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "dataplane/daemon/show.hpp"

namespace millrace::dataplane {

struct ExplainSources {
    Running running;
    std::string pin_root;  // of the classifiers
    RowOpener routes;      // `show routes`
    struct Hop {
        std::string gateway;
        std::string interface;
    };
    std::function<std::optional<Hop>(AdjacencyId)> hop;
};

// Arguments: port, frame (hexadecimal). One row, by what the workers would do with the frame if the
// classifier brought it:
//   {"port","state","why","ifindex","mac","pin_root","reason","text","packet","reverse_path","route","group","next_hop"}
// state, why: as `show ports` has them. reason: that it would be counted under. The last ones in the order in
// which they are met, null from where they are not:
//   packet        {"source","destination","length"}
//   reverse_path  "off", "loose", "strict"
//   route         as `show routes` has it, with "same" = the workers' table says the same; null: none
//   group         {"id","buckets","hash","bucket"}; buckets: 0 where there is nothing to choose
//   next_hop      {"gateway","interface","port","mac","source_mac","mtu","usable"}
// Control thread; what is given outlives the opener.
RowOpener show_explain(ExplainSources sources);

}  // namespace millrace::dataplane
