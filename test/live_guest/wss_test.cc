// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The program itself, beside a running guest and without one.

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "examples/live_guest/json.h"
#include "gtest/gtest.h"
#include "test/live_guest/guest_set.h"
#include "test/live_guest/linux_guest.h"
#include "test/live_guest/qemu.h"

namespace ptage::test {
namespace {

using live_guest::Json;
using live_guest::JsonKind;
using live_guest::ParseJson;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  int status;
  std::string out;
  std::string error;
};

// Runs wss with `flags`.
Outcome RunWss(const ShortFolder& folder, const std::string& flags) {
  const std::string command = absl::StrCat(
      "examples/live_guest/wss ", flags, " >", folder.PathOf("out"), " 2>",
      folder.PathOf("error"), " </dev/null");
  const int status = std::system(command.c_str());
  return Outcome{WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                 ReadFile(folder.PathOf("out")),
                 ReadFile(folder.PathOf("error"))};
}

// One line that says what is wrong.
void ExpectRefused(const Outcome& outcome, const std::string& says) {
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(absl::StartsWith(outcome.error, "wss: ")) << outcome.error;
  EXPECT_TRUE(absl::StrContains(outcome.error, says)) << outcome.error;
  EXPECT_EQ(outcome.error.find('\n'), outcome.error.size() - 1)
      << outcome.error;
}

std::uint64_t NumberAt(const Json& json, const std::string& path) {
  const Json* at = &json;
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(path, '.'))) {
    at = at == nullptr ? nullptr : at->Find(name);
  }
  std::uint64_t number = 0;
  EXPECT_TRUE(at != nullptr && at->ToNumber(number)) << path;
  return number;
}

// Each line is an object with the version.
std::vector<Json> ParseLines(const std::string& text) {
  std::vector<Json> lines;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (line.empty()) continue;
    auto json = ParseJson(line);
    EXPECT_TRUE(json.ok()) << json.status() << ": " << line;
    if (!json.ok()) continue;
    EXPECT_EQ(NumberAt(*json, "version"), 1u);
    lines.push_back(*json);
  }
  return lines;
}

TEST(WssFlagsTest, WrongOnesAreExplainedInALine) {
  const ShortFolder folder;
  ExpectRefused(RunWss(folder, ""), "--qmp");
  ExpectRefused(RunWss(folder, "--qmp"), "lacks its value");
  ExpectRefused(RunWss(folder, "--qmp x --interval 5"), "10 to 3600000");
  ExpectRefused(RunWss(folder, "--qmp x --interval=1e3"), "not a number");
  ExpectRefused(RunWss(folder, "--qmp x --pause"), "--clear");
  ExpectRefused(RunWss(folder, "--qmp x --clear=1"), "takes no value");
  ExpectRefused(RunWss(folder, "--qmp x --frobnicate"), "unknown flag");
  ExpectRefused(RunWss(folder, "--qmp x --svg="), "empty path");
  const Outcome help = RunWss(folder, "--help");
  EXPECT_EQ(help.status, 0);
  EXPECT_TRUE(absl::StrContains(help.out, "takes pages for idle"));
}

class WssTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasQemu()) {
      GTEST_SKIP() << "skipped: no " << kQemu << " (Debian's qemu-system-x86)";
    }
  }
  std::string Flags(const Qemu& qemu, const std::string& more) {
    return absl::StrCat("--qmp ", qemu.socket(), " ", more);
  }
  // Waits until the monitor is there, and lets go of it.
  void Await(const Qemu& qemu) { ASSERT_TRUE(qemu.Connect().ok()); }

  const ShortFolder folder_;
};

TEST_F(WssTest, AGuestThatCannotBeReachedIsExplained) {
  ExpectRefused(RunWss(folder_, "--qmp " + folder_.PathOf("nobody")),
                "no QEMU monitor at");
  // Its memory is its own.
  const Qemu qemu(folder_, {"-S", "-m", "64M"});
  Await(qemu);
  ExpectRefused(RunWss(folder_, Flags(qemu, "--samples 1")), "is no file");
}

TEST_F(WssTest, AFileThatIsNotTheGuestsIsExplained) {
  const std::string ram = folder_.PathOf("ram");
  const Qemu qemu(
      folder_,
      {"-S", "-m", "64M", "-object",
       absl::StrCat("memory-backend-file,id=m,size=64M,share=on,mem-path=",
                    ram),
       "-machine", "pc,memory-backend=m"});
  Await(qemu);
  ASSERT_EQ(unlink(ram.c_str()), 0);
  ExpectRefused(RunWss(folder_, Flags(qemu, "--samples 1")),
                "cannot open the guest's RAM");
  std::ofstream(ram) << "short";
  ExpectRefused(RunWss(folder_, Flags(qemu, "--samples 1")), "has 5 bytes");
}

TEST_F(WssTest, AGuestWithoutPagingIsNotMeasured) {
  const Qemu qemu(
      folder_,
      {"-S", "-m", "64M", "-object",
       absl::StrCat("memory-backend-file,id=m,size=64M,share=on,mem-path=",
                    folder_.PathOf("ram")),
       "-machine", "pc,memory-backend=m"});
  Await(qemu);
  Outcome outcome =
      RunWss(folder_, Flags(qemu, "--samples 2 --interval 10 --json"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_EQ(outcome.error, "");
  const std::vector<Json> lines = ParseLines(outcome.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].StringAt("type"), "guest");
  // But for the firmware's place.
  EXPECT_LE(NumberAt(lines[0], "frames"), 64u << 8);
  EXPECT_GE(NumberAt(lines[0], "frames"), (64u << 8) - 96);
  ASSERT_NE(lines[0].Find("layout"), nullptr);
  EXPECT_EQ(lines[0].Find("layout")->items.size(), 2u);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_EQ(lines[i].StringAt("type"), "sample");
    EXPECT_FALSE(lines[i].Find("measured")->boolean);
    EXPECT_EQ(lines[i].Find("accessed"), nullptr);
  }
  outcome = RunWss(folder_, Flags(qemu, "--samples 1"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_TRUE(absl::StrContains(outcome.out, "not measured: no CPU"));
}

class WssLinuxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string why = WhyNoLinuxGuest();
    if (!why.empty()) GTEST_SKIP() << why;
  }
  const ShortFolder folder_;
};

constexpr std::uint64_t kMapped = kSmallPages + 512 * kLargePages;

TEST_F(WssLinuxTest, ShowsTheWorkingSetOfAGuestOfFiveLevels) {
  LinuxGuest guest({.cpus = 2, .cpu = "max"});
  ASSERT_TRUE(guest.ok()) << guest.Console();
  ASSERT_EQ(guest.Ask("map"), "ok");
  ASSERT_EQ(guest.Ask("busy"), "ok");
  guest.Release();
  const std::string flags = absl::StrCat("--qmp ", guest.monitor(), " ");

  // It only looks.
  Outcome outcome =
      RunWss(folder_, flags + "--samples 2 --interval 300 --json");
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  std::vector<Json> lines = ParseLines(outcome.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].StringAt("mode"), "look");
  const Json& looked = lines[2];
  EXPECT_EQ(NumberAt(looked, "levels"), 5u);
  EXPECT_GE(NumberAt(looked, "resident"), kMapped);
  EXPECT_LE(NumberAt(looked, "resident"), kMapped + 20'000);
  EXPECT_GE(NumberAt(looked, "accessed"), kMapped);
  EXPECT_GT(NumberAt(looked, "interval_ms"), 0u);
  EXPECT_GE(NumberAt(looked, "user.4k.present"), kSmallPages);
  EXPECT_EQ(NumberAt(looked, "user.2m.present"), kLargePages);
  EXPECT_EQ(looked.Find("touched")->Find("1s")->kind, JsonKind::kNull);
  EXPECT_EQ(NumberAt(looked, "skipped.outside"), 0u);
  EXPECT_EQ(looked.Find("strip")->items.size(), 64u);

  // It clears, as the guest runs, and as it is stopped.
  for (const char* const pause : {"", " --pause"}) {
    outcome = RunWss(folder_, absl::StrCat(flags, "--samples 8 --interval 250 ",
                                           "--clear --json --svg ",
                                           folder_.PathOf("svg"), pause));
    ASSERT_EQ(outcome.status, 0) << outcome.error;
    lines = ParseLines(outcome.out);
    ASSERT_EQ(lines.size(), 9u);
    // Nobody knows when what it finds first was accessed.
    if (*pause == '\0') {
      EXPECT_GT(NumberAt(lines[1], "skipped.first_look"), kMapped / 2);
    }
    EXPECT_EQ(lines[1].Find("touched")->Find("1s")->kind, JsonKind::kNull);
    const Json& last = lines.back();
    EXPECT_GE(NumberAt(last, "resident"), kMapped);
    // Of all these pages hardly any is used.
    EXPECT_LT(NumberAt(last, "accessed"), 4000u);
    EXPECT_LT(NumberAt(last, "touched.1s.pages"), 4000u);
    EXPECT_EQ(last.Find("touched")->Find("60s")->kind, JsonKind::kNull);
    EXPECT_EQ(NumberAt(last, "stopped_us") > 0, *pause != '\0');
    const std::string svg = ReadFile(folder_.PathOf("svg"));
    EXPECT_TRUE(absl::StartsWith(svg, "<svg ")) << svg.substr(0, 80);
    EXPECT_TRUE(absl::StrContains(svg, "</svg>\n"));
  }
  // Idle tables are not read.
  outcome = RunWss(folder_, flags +
                                "--samples 6 --interval 250 --clear "
                                "--skip-cold --json");
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  lines = ParseLines(outcome.out);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_GE(NumberAt(lines[6], "resident"), kMapped);
  EXPECT_LT(NumberAt(lines[6], "user.4k.present"), kSmallPages);
  EXPECT_LT(NumberAt(lines[6], "parts.user"), 100u);
  outcome = RunWss(folder_, flags +
                                "--samples 4 --interval 250 --clear --profile "
                                "--json");
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  lines = ParseLines(outcome.out);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_LT(NumberAt(lines[4], "parts.user"), 100u);
  EXPECT_EQ(lines[4].Find("resident"), nullptr);

  outcome = RunWss(folder_, flags + "--samples 1");
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_TRUE(absl::StrContains(outcome.out, "not measured: needs --clear"));
  std::fputs(outcome.out.c_str(), stdout);

  // Nothing was damaged meanwhile.
  const std::string answer = guest.Ask("check");
  EXPECT_TRUE(absl::StartsWith(answer, "ok ")) << answer;
}

}  // namespace
}  // namespace ptage::test
