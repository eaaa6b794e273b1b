// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The program from end to end, each time in its own processes. What userfaultfd
// is needed for is skipped where it is not allowed.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/far_memory/uffd.h"
#include "gtest/gtest.h"

namespace ptage::far_memory {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

struct Outcome {
  int status;
  std::string out;
  std::string err;
  double seconds;
};

class FarMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(
        testing::TempDir(), "/",
        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(folder_, "/", name);
  }
  Outcome Run(const std::string& arguments) const {
    const std::string line =
        absl::StrCat("examples/far_memory/far_memory ", arguments, " >'",
                     Path("out"), "' 2>'", Path("err"), "' </dev/null");
    const absl::Time began = absl::Now();
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(Path("out")),
            ReadAll(Path("err")), absl::ToDoubleSeconds(absl::Now() - began)};
  }
  // The number under `name` in what --json wrote.
  std::uint64_t Figure(absl::string_view name) const {
    const std::string json = ReadAll(Path("json"));
    const std::string key = absl::StrCat("\"", name, "\": ");
    const std::size_t at = json.find(key);
    std::uint64_t value = 0;
    EXPECT_NE(at, std::string::npos) << name << " in " << json;
    if (at == std::string::npos) return 0;
    const std::size_t begin = at + key.size();
    EXPECT_TRUE(absl::SimpleAtoi(
        json.substr(begin, json.find_first_not_of("0123456789", begin) - begin),
        &value));
    return value;
  }
  static void ExpectVerified(const Outcome& outcome) {
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(absl::StartsWith(outcome.out, "verified: ")) << outcome.out;
  }
  // One line that says why, no summary, and a status of its own.
  static void ExpectFailure(const Outcome& outcome, int status,
                            absl::string_view why) {
    EXPECT_EQ(outcome.status, status) << outcome.out;
    EXPECT_TRUE(absl::StrContains(outcome.err, why)) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
        << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

 private:
  std::string folder_;
};

// Those for which the kernel has to play along.
class UserfaultfdTest : public FarMemoryTest {
 protected:
  void SetUp() override {
    const absl::Status can = Uffd::Open().status();
    if (!can.ok()) GTEST_SKIP() << can.message();
    FarMemoryTest::SetUp();
  }
};

TEST_F(FarMemoryTest, TheSoftwareFormVerifiesBothWorkloads) {
  for (const char* policy : {"clock", "fifo"}) {
    ExpectVerified(Run(
        absl::StrCat("--software --mib=1 --operations=200 --policy=", policy,
                     " --json='", Path("json"), "' --quiet")));
    EXPECT_EQ(Figure("pages"), 256u);
    EXPECT_EQ(Figure("most_resident"), 64u);
    EXPECT_GT(Figure("major_faults"), 256u);
    std::filesystem::remove(Path("json"));
  }
}

TEST_F(FarMemoryTest, BadFlagsAreOneLineAndStatusTwo) {
  ExpectFailure(Run("--policy=oracle"), 2, "\"oracle\"");
  ExpectFailure(Run("--mib"), 2, "--mib lacks its value");
}

TEST_F(FarMemoryTest, ASummaryThatCannotBeWrittenIsKnownBeforeTheRun) {
  const Outcome outcome = Run("--mib=4096 --json=/nowhere/json");
  ExpectFailure(outcome, 1, "/nowhere/json");
}

TEST_F(FarMemoryTest, ErrorsOfTheStoreEndTheSoftwareForm) {
  const std::string software = "--software --mib=1 --quiet ";
  ExpectFailure(Run(software + "--fail=store-full@10"), 1, "store is full");
  ExpectFailure(Run(software + "--fail=flip-bit@10"), 1, "is damaged");
  ExpectFailure(Run(software + "--store=file --file=/dev/full"), 1,
                "No space left on device");
}

// Runs the program where a filter of system calls forbids every way to a
// userfaultfd. Status 77: there are no such filters here.
int RunForbidden(const std::string& line) {
  const pid_t child = fork();
  if (child == 0) {
    // Arguments are 64 bits wide; the lower half of ioctl's second is enough.
    constexpr unsigned kRequest = offsetof(seccomp_data, args[1]);
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kRequest),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNewFromDevice, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog filter = {.len = std::size(program), .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
      _exit(77);
    }
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  (void)waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(FarMemoryTest, WithoutPermissionItSaysWhatWouldHelp) {
  for (const bool insists : {true, false}) {
    const std::string line = absl::StrCat(
        "examples/far_memory/far_memory --mib=1 --operations=100 --quiet ",
        insists ? "--userfaultfd" : "", " >'", Path("out"), "' 2>'",
        Path("err"), "' </dev/null");
    const int status = RunForbidden(line);
    if (status == 77) GTEST_SKIP() << "system calls cannot be forbidden here";
    const Outcome outcome = {status, ReadAll(Path("out")), ReadAll(Path("err")),
                             0};
    EXPECT_TRUE(absl::StrContains(outcome.err, "vm.unprivileged_userfaultfd"));
    EXPECT_TRUE(absl::StrContains(outcome.err, "/dev/userfaultfd"));
    if (insists) {
      ExpectFailure(outcome, 1, "userfaultfd is not allowed here");
    } else {
      ExpectVerified(outcome);
      EXPECT_TRUE(absl::StrContains(outcome.out, "by software")) << outcome.out;
    }
  }
}

TEST_F(UserfaultfdTest, BothWorkloadsAreVerifiedUnderEveryPolicyAndStore) {
  for (const std::string& flags :
       {std::string("--policy=clock"), std::string("--policy=fifo"),
        std::string("--policy=generations"),
        absl::StrCat("--store=file --file='", Path("swap"), "'")}) {
    const Outcome outcome = Run(
        absl::StrCat("--userfaultfd --mib=1 --operations=500 --quiet --json='",
                     Path("json"), "' ", flags));
    ExpectVerified(outcome);
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(Figure("pages"), 256u);
    EXPECT_LE(Figure("most_resident"), 64u);
    EXPECT_GT(Figure("clean_evictions"), 0u);
    // The whole data was thrown away between the two.
    EXPECT_EQ(Figure("discarded"), 256u);
    const bool ages = flags != "--policy=fifo";
    EXPECT_EQ(Figure("unmapped") != 0, ages) << flags;
    EXPECT_EQ(Figure("minor_faults") != 0, ages) << flags;
    std::filesystem::remove(Path("json"));
  }
}

TEST_F(UserfaultfdTest, FromOnePageOfMemoryToTen) {
  for (const int limit : {1, 2, 3, 5, 10}) {
    ExpectVerified(
        Run(absl::StrCat("--userfaultfd --mib=1 --operations=100 --quiet "
                         "--workload=table --limit=",
                         limit, " --policy=", limit % 2 == 0 ? "fifo" : "clock",
                         " --json='", Path("json"), "'")));
    EXPECT_EQ(Figure("most_resident"), std::uint64_t(limit));
  }
}

TEST_F(UserfaultfdTest, WhatIsMovedKeepsItsDataAndWhatIsDiscardedIsZero) {
  for (const char* flags :
       {"--limit=1 --mib=1", "--limit=64 --mib=1", "--limit=450 --mib=2",
        "--limit=150 --mib=2 --policy=fifo"}) {
    ExpectVerified(
        Run(absl::StrCat("--userfaultfd --workload=moves --quiet ", flags)));
  }
}

TEST_F(UserfaultfdTest, AHandlerThatDiesWithAFaultInItsHandsEndsTheWorkload) {
  for (const int fault : {1, 2, 500}) {
    const Outcome outcome =
        Run(absl::StrCat("--userfaultfd --mib=2 --quiet --fail=kill@", fault));
    ExpectFailure(outcome, 1, "fault handler was ended by signal 9");
    EXPECT_TRUE(absl::StrContains(outcome.err, "the workload was ended"));
    EXPECT_LT(outcome.seconds, 10);
  }
}

// All of its processes hold the pipe open.
TEST_F(UserfaultfdTest, AWatchdogThatIsKilledTakesTheOthersWithIt) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t watchdog = fork();
  if (watchdog == 0) {
    (void)dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl("examples/far_memory/far_memory", "far_memory", "--userfaultfd",
          "--quiet", "--mib=256", nullptr);
    _exit(127);
  }
  close(ends[1]);
  absl::SleepFor(absl::Milliseconds(300));
  pollfd others = {.fd = ends[0], .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&others, 1, 0), 0) << "it ended by itself";
  ASSERT_EQ(kill(watchdog, SIGKILL), 0);
  ASSERT_EQ(waitpid(watchdog, nullptr, 0), watchdog);
  EXPECT_EQ(poll(&others, 1, 10'000), 1) << "some process lives on";
  EXPECT_NE(others.revents & POLLHUP, 0);
  close(ends[0]);
}

TEST_F(UserfaultfdTest, AHandlerThatHangsIsEndedAndSoIsTheWorkload) {
  const Outcome outcome =
      Run("--userfaultfd --mib=2 --quiet --patience=1 --fail=hang@100");
  ExpectFailure(outcome, 1, "did nothing for 1 s");
  EXPECT_LT(outcome.seconds, 15);
}

TEST_F(UserfaultfdTest, ErrorsOfTheStoreEndTheWorkload) {
  const std::string small = "--userfaultfd --mib=1 --quiet ";
  ExpectFailure(Run(small + "--fail=store-full@100"), 1, "store is full");
  ExpectFailure(Run(small + "--fail=flip-bit@100"), 1, "is damaged");
  ExpectFailure(Run(small + "--store-mib=0"), 1, "store is full");
  ExpectFailure(Run(small + "--store=file --file=/dev/full"), 1,
                "No space left on device");
}

}  // namespace
}  // namespace ptage::far_memory
