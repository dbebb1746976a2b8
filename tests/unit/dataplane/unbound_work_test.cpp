// SPDX-License-Identifier: BSD-3-Clause
// Which cores are left to the kernel's unbound work, by a file as the kernel has it.
#include "dataplane/daemon/unbound_work.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace millrace::test {
namespace {

using dataplane::UnboundWork;
using testing::HasSubstr;
namespace fs = std::filesystem;

class UnboundWorkTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = fs::temp_directory_path() / "unbound_work.XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        root = name;
        file = root / "cpumask";
    }
    void TearDown() override { fs::remove_all(root); }
    void mask(const std::string& text) const { std::ofstream(file) << text; }
    [[nodiscard]] std::string mask() const {
        std::ifstream in(file);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    [[nodiscard]] fs::path record() const { return root / "record"; }
    // What a life leaves that is killed.
    void killed(const std::string& taken, const std::string& left) const {
        std::ofstream(record()) << taken;
        mask(left);
    }
    fs::path root;
    fs::path file;
};

TEST_F(UnboundWorkTest, KeepsOffTheCoresAndGivesThemBack) {
    mask("0000000f\n");
    {
        const UnboundWork work({1, 3}, record(), file);
        EXPECT_EQ(mask().substr(0, 8), "00000005");
        EXPECT_EQ(work.problem(), "");
    }
    EXPECT_EQ(mask().substr(0, 8), "0000000f");
}

TEST_F(UnboundWorkTest, MoreCoresThanAWordHas) {
    mask("3,ffffffff,ffffffff\n");
    {
        const UnboundWork work({0, 33, 64}, record(), file);
        EXPECT_EQ(mask().substr(0, 26), "00000002,fffffffd,fffffffe");
    }
    EXPECT_EQ(mask().substr(0, 26), "00000003,ffffffff,ffffffff");
}

TEST_F(UnboundWorkTest, GivesBackOnlyWhatItTook) {
    mask("d\n");
    {
        const UnboundWork work({1, 2}, record(), file);
        EXPECT_EQ(mask().substr(0, 8), "00000009");
        mask("00000008\n");  // somebody takes another core
    }
    EXPECT_EQ(mask().substr(0, 8), "0000000c");
}

TEST_F(UnboundWorkTest, GivesBackWhatALifeBeforeTook) {
    killed("00000002", "d\n");
    {
        const UnboundWork work({1}, record(), file);
        EXPECT_EQ(mask(), "d\n");
    }
    EXPECT_EQ(mask().substr(0, 8), "0000000f");
    EXPECT_FALSE(fs::exists(record()));
}

TEST_F(UnboundWorkTest, OtherCoresThanTheLifeBefore) {
    killed("00000002", "d\n");
    {
        const UnboundWork work({2}, record(), file);
        EXPECT_EQ(mask().substr(0, 8), "0000000b");
    }
    EXPECT_EQ(mask().substr(0, 8), "0000000f");
}

TEST_F(UnboundWorkTest, NoRecordNothingTaken) {
    mask("3\n");
    {
        const UnboundWork work({1}, root / "no folder" / "record", file);
        EXPECT_THAT(work.problem(), HasSubstr("record: No such file"));
    }
    EXPECT_EQ(mask(), "3\n");
}

TEST_F(UnboundWorkTest, WritesNothingWhereNothingIsToBeTaken) {
    mask("d\n");
    {
        const UnboundWork work({1, 40}, record(), file);
        EXPECT_EQ(work.problem(), "");
    }
    EXPECT_EQ(mask(), "d\n");
}

TEST_F(UnboundWorkTest, NoCoreLeftForIt) {
    mask("3\n");
    {
        const UnboundWork work({0, 1}, record(), file);
        EXPECT_THAT(work.problem(), HasSubstr("no core is left"));
    }
    EXPECT_EQ(mask(), "3\n");
}

TEST_F(UnboundWorkTest, AKernelThatDoesNotSay) {
    EXPECT_THAT(UnboundWork({1}, record(), file).problem(), HasSubstr("cpumask can't be read"));
    mask("nonsense\n");
    EXPECT_THAT(UnboundWork({1}, record(), file).problem(), HasSubstr("cpumask can't be read"));
    EXPECT_EQ(mask(), "nonsense\n");
}

}  // namespace
}  // namespace millrace::test
