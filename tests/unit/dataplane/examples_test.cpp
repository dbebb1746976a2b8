// SPDX-License-Identifier: BSD-3-Clause
// What README, the manuals and systemd/ show as configuration is taken as it stands, by defaults as they are.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "dataplane/config/config_file.hpp"

namespace millrace::dataplane {
namespace {

std::string read(const std::string& path) {
    const std::ifstream file(MILLRACE_SOURCES "/" + path);
    std::ostringstream text;
    text << file.rdbuf();
    EXPECT_FALSE(text.str().empty()) << path;
    return text.str();
}

std::vector<std::string> matches(const std::string& text, const char* pattern) {
    const std::regex regex(pattern);
    std::vector<std::string> found;
    for (auto m = std::sregex_iterator(text.begin(), text.end(), regex); m != std::sregex_iterator(); ++m) {
        found.push_back((*m)[1]);
    }
    return found;
}

// A piece that names no port stands beside two.
std::string whole(const std::string& piece) {
    const bool has_ports = piece.find("[[port]]") != std::string::npos;
    return has_ports ? piece : "[[port]]\nname = \"eth0\"\n[[port]]\nname = \"eth1\"\n" + piece;
}

void expect_taken(const std::string& piece, const std::string& from) {
    const auto config = parse_config(whole(piece), from);
    EXPECT_TRUE(config) << config.error().text() << "\n" << piece;
}

// "```toml" blocks, and `[table] key = value` in a sentence.
TEST(Examples, OfReadmeAreTaken) {
    const std::string readme = read("README.md");
    const auto blocks = matches(readme, "```toml\n([^`]*)```");
    EXPECT_FALSE(blocks.empty());
    for (const std::string& block : blocks) {
        expect_taken(block, "README.md");
    }
    const auto lines = matches(readme, "`(\\[\\w+\\] \\w+ = [^`]*)`");
    EXPECT_FALSE(lines.empty());
    for (const std::string& line : lines) {
        expect_taken(
            std::regex_replace(line, std::regex("\\] "), "]\n", std::regex_constants::format_first_only),
            "README.md");
    }
}

// Also with what it has as comments: keys whose default depends on others.
TEST(Examples, OfSystemdAreTaken) {
    for (const char* path : {"systemd/millrace.toml", "systemd/debian/millrace.toml"}) {
        const std::string text = read(path);
        const std::string all = std::regex_replace(text, std::regex("(^|\n)#(?=[a-z\\[])"), "$1");
        expect_taken(all, path);
    }
    expect_taken(read("systemd/millrace.toml"), "systemd/millrace.toml");
}

using Keys = std::map<std::string, std::set<std::string>>;

Keys keys_of_example() {
    Keys keys;
    std::string table;
    std::istringstream lines(read("systemd/millrace.toml"));
    for (std::string line; std::getline(lines, line);) {
        std::smatch found;
        if (std::regex_search(line, found, std::regex("^\\[+(\\w+)\\]"))) {
            table = found[1];
        } else if (std::regex_search(line, found, std::regex("^#?(\\w+) +=|^#?(\\w+)="))) {
            keys[table].insert(found[1]);
        }
    }
    return keys;
}

// ".It Ic [table] key , key": the manual and the example know the same keys.
TEST(Examples, TheManualHasEachKey) {
    Keys keys;
    for (const std::string& item : matches(read("dataplane/man/millraced.8"), "\n\\.It Ic (\\[[^\n]*)")) {
        const std::string table = matches(item, "^\\[+(\\w+)").front();
        for (const std::string& key : matches(item.substr(item.find(' ')), "(\\w+)")) {
            keys[table].insert(key);
        }
    }
    EXPECT_EQ(keys, keys_of_example());
}

}  // namespace
}  // namespace millrace::dataplane
