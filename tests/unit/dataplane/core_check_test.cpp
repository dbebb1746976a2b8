// SPDX-License-Identifier: BSD-3-Clause
// What --check says of the workers' cores, read from files as the kernel writes them.
#include "dataplane/daemon/core_check.hpp"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

namespace millrace::test {
namespace {

using dataplane::core_problems;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

class CoreCheck : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "core_check.XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        root = name;
        config.ports = {{.name = "eth0"}};
        config.workers.cores = {2};
        use(0, 0);
        interrupt(0);
    }
    void TearDown() override { fs::remove_all(root); }
    void file(const std::string& path, const std::string& text) {
        fs::create_directories((root / path).parent_path());
        std::ofstream(root / path) << text;
    }
    // Ticks of core 2 so far; core 0 is always busy.
    void use(unsigned busy, unsigned idle) {
        file("proc/stat", fmt::format("cpu  9 0 0 9 0 0 0 0 0 0\ncpu0 {0} 0 0 0 0 0 0 0 0 0\n"
                                      "cpu2 {0} 0 0 {1} 5 0 0 0 {0} 0\nintr 1 2 3\n",
                                      busy, idle));
    }
    // Core 1 is offline: it has no column.
    void interrupt(unsigned core2) {
        file("proc/interrupts", fmt::format("           CPU0       CPU2\n"
                                            " 24:     {1}     {0}   PCI-MSI 524288-edge      eth0-rx-1\n"
                                            "LOC:     {0}     {0}   Local timer interrupts\n",
                                            core2, core2 * 9));
    }
    std::vector<std::string> problems(const std::function<void()>& meanwhile = [] {}) {
        return core_problems(config, meanwhile, root);
    }
    fs::path root;
    Config config;
};

TEST_F(CoreCheck, NothingKnownNothingSaid) {
    fs::remove_all(root / "proc");
    EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(CoreCheck, ACoreThatOthersUse) {
    EXPECT_THAT(problems([&] { use(1, 49); }), IsEmpty());
    use(0, 0);
    EXPECT_THAT(problems([&] { use(40, 10); }), ElementsAre(HasSubstr("core 2 of a worker is 80 % busy")));
}

TEST_F(CoreCheck, InterruptsThatComeThere) {
    EXPECT_THAT(problems([&] { interrupt(100); }), IsEmpty());
    EXPECT_THAT(problems([&] { interrupt(1000); }),
                ElementsAre(AllOf(HasSubstr("interrupt 24 (eth0-rx-1)"), HasSubstr("core 2"))));
}

TEST_F(CoreCheck, Governor) {
    file("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n");
    EXPECT_THAT(problems(), IsEmpty());
    file("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n");
    EXPECT_THAT(problems(), ElementsAre(HasSubstr("governor powersave")));
}

TEST_F(CoreCheck, NumaNodes) {
    fs::create_directories(root / "sys/devices/system/cpu/cpu2/node0");
    file("sys/class/net/eth0/device/numa_node", "-1\n");
    EXPECT_THAT(problems(), IsEmpty());
    file("sys/class/net/eth0/device/numa_node", "0\n");
    EXPECT_THAT(problems(), IsEmpty());
    file("sys/class/net/eth0/device/numa_node", "1\n");
    EXPECT_THAT(problems(),
                ElementsAre(AllOf(HasSubstr("port eth0 is of NUMA node 1"), HasSubstr("node 0"))));
}

}  // namespace
}  // namespace millrace::test
