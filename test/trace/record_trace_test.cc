// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Records programs with tools/trace/record_trace and looks at the result, and
// at what trace_info says of it. Needs qemu-user.

#include <elf.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "bench/access.h"
#include "bench/trace.h"
#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

using std::filesystem::absolute;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file),
          std::istreambuf_iterator<char>()};
}

struct Outcome {
  int status;
  std::string out;
  std::string err;
};

// Each test works in a folder of its own.
class RecordTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info =
        testing::UnitTest::GetInstance()->current_test_info();
    folder_ = absl::StrCat(testing::TempDir(), "/", info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  // What a shell line, run in the folder, does. $record and $info are the two
  // programs.
  Outcome Shell(const std::string& line) const {
    const std::string whole = absl::StrCat(
        "record='", record_, "'; info='", info_, "'; cd '", folder_, "'\n",
        "{ ", line, "\n} >'", folder_, "/.out' 2>'", folder_, "/.err'");
    const int status = std::system(whole.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(Path(".out")),
            ReadAll(Path(".err"))};
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(folder_, "/", name);
  }

  Trace Read(absl::string_view name) const {
    absl::StatusOr<Trace> trace = ReadTrace(Path(name));
    EXPECT_TRUE(trace.ok()) << trace.status();
    return trace.ok() ? *std::move(trace) : Trace{};
  }

  // One line on standard error that has `reason`, and exit status 2.
  static void ExpectRefusal(const Outcome& outcome, absl::string_view reason) {
    EXPECT_EQ(outcome.status, 2);
    EXPECT_TRUE(absl::StrContains(outcome.err, reason)) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
        << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

  void WriteTinyProgram(absl::string_view name) const;

 private:
  // Bazel runs a test in the folder that its data is below.
  const std::string record_ = absolute("tools/trace/record_trace").string();
  const std::string info_ = absolute("tools/trace/trace_info").string();
  std::string folder_;
};

// A static program of one page of code at 0x401000 and four of data at
// 0x402000, whose references are known one by one.
void RecordTraceTest::WriteTinyProgram(absl::string_view name) const {
  constexpr std::uint64_t kCode = 0x401000;
  constexpr std::uint64_t kData = 0x402000;
  // clang-format off
  constexpr unsigned char kInstructions[] = {
      0xb9, 0xe8, 0x03, 0x00, 0x00,              //    mov $1000, %ecx
      0x48, 0x8b, 0x05, 0xf4, 0x0f, 0, 0,        // 1: mov data, %rax
      0x48, 0x8b, 0x05, 0xed, 0x1f, 0, 0,        //    mov data+0x1000, %rax
      0x48, 0x89, 0x05, 0xe6, 0x2f, 0, 0,        //    mov %rax, data+0x2000
      0xf0, 0x48, 0xff, 0x05, 0xde, 0x3f, 0, 0,  //    lock incq data+0x3000
      0x48, 0x8b, 0x05, 0xd4, 0x1f, 0, 0,        //    mov data+0xffd, %rax
      0xff, 0xc9,                                //    dec %ecx
      0x75, 0xd8,                                //    jne 1b
      0xb8, 0xe7, 0x00, 0x00, 0x00,              //    mov $231, %eax
      0x31, 0xff,                                //    xor %edi, %edi
      0x0f, 0x05,                                //    syscall (exit_group)
  };
  // clang-format on
  Elf64_Ehdr elf = {};
  std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.e_ident[EI_VERSION] = EV_CURRENT;
  elf.e_type = ET_EXEC;
  elf.e_machine = EM_X86_64;
  elf.e_version = EV_CURRENT;
  elf.e_entry = kCode;
  elf.e_phoff = sizeof(Elf64_Ehdr);
  elf.e_ehsize = sizeof(Elf64_Ehdr);
  elf.e_phentsize = sizeof(Elf64_Phdr);
  elf.e_phnum = 2;
  Elf64_Phdr code = {};
  code.p_type = PT_LOAD;
  code.p_flags = PF_R | PF_X;
  code.p_offset = 0x1000;
  code.p_vaddr = code.p_paddr = kCode;
  code.p_filesz = code.p_memsz = sizeof(kInstructions);
  code.p_align = 0x1000;
  Elf64_Phdr data = {};
  data.p_type = PT_LOAD;
  data.p_flags = PF_R | PF_W;
  data.p_vaddr = data.p_paddr = kData;
  data.p_memsz = 0x4000;
  data.p_align = 0x1000;
  std::string bytes(0x1000 + sizeof(kInstructions), '\0');
  std::memcpy(bytes.data(), &elf, sizeof(elf));
  std::memcpy(bytes.data() + sizeof(elf), &code, sizeof(code));
  std::memcpy(bytes.data() + sizeof(elf) + sizeof(code), &data, sizeof(data));
  std::memcpy(bytes.data() + 0x1000, kInstructions, sizeof(kInstructions));
  const std::string path = Path(name);
  std::ofstream(path, std::ios::binary) << bytes;
  chmod(path.c_str(), 0755);
}

struct Counts {
  // By kind.
  std::array<std::uint64_t, kAccessKinds> references = {};
};

std::vector<Counts> CountByPage(const Trace& trace) {
  std::vector<Counts> pages(trace.pages);
  for (const Record& record : trace.records) {
    pages[record.page].references[static_cast<std::size_t>(record.kind)] +=
        record.repeat;
  }
  return pages;
}

TEST_F(RecordTraceTest, EveryReferenceOfAKnownProgramIsThere) {
  WriteTinyProgram("tiny");
  const Outcome outcome =
      Shell("\"$record\" --about 'five pages' --out t.trace -- ./tiny a 'b c'");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Trace trace = Read("t.trace");
  EXPECT_EQ(trace.program, "./tiny");
  EXPECT_EQ(trace.arguments, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(trace.package, "unknown");
  EXPECT_TRUE(absl::StartsWith(trace.recorder, "qemu-user ")) << trace.recorder;
  EXPECT_EQ(trace.about, "five pages");
  EXPECT_EQ(trace.ending, Ending::kProgramEnded);

  // Pages in the order of their first references: code, then data 0 to 3. The
  // load from data+0xffd touches pages 0 and 1; the locked increment reads and
  // writes page 3.
  const std::vector<Counts> pages = CountByPage(trace);
  ASSERT_EQ(pages.size(), 5u);
  constexpr std::uint64_t kFetches = 1 + 7 * 1000 + 3;
  const std::uint64_t expected[5][kAccessKinds] = {{0, 0, kFetches},
                                                   {2000, 0, 0},
                                                   {2000, 0, 0},
                                                   {0, 1000, 0},
                                                   {1000, 1000, 0}};
  for (std::size_t page = 0; page < 5; ++page) {
    for (std::size_t kind = 0; kind < kAccessKinds; ++kind) {
      EXPECT_EQ(pages[page].references[kind], expected[page][kind])
          << "page " << page << ", kind " << kind;
    }
  }
}

TEST_F(RecordTraceTest, TraceInfoPrintsTheCounts) {
  WriteTinyProgram("tiny");
  const Outcome outcome =
      Shell("\"$record\" -- ./tiny && \"$info\" tiny.trace");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const absl::string_view line :
       {"program     ./tiny\n", "pages       5 of 4096 bytes\n",
        "ended       the program ended\n",
        "references  14004 (reads 5000, writes 2000, fetches 7004)\n"}) {
    EXPECT_TRUE(absl::StrContains(outcome.out, line)) << outcome.out;
  }
}

TEST_F(RecordTraceTest, ALimitEndsTheProgram) {
  WriteTinyProgram("tiny");
  ASSERT_EQ(Shell("\"$record\" --max-references 5000 --out a -- ./tiny").status,
            0);
  Trace trace = Read("a");
  EXPECT_EQ(trace.references, 5000u);
  EXPECT_EQ(trace.ending, Ending::kLimit);

  ASSERT_EQ(Shell("\"$record\" --max-records=321 --out a -- ./tiny").status, 0);
  trace = Read("a");
  EXPECT_EQ(trace.ending, Ending::kLimit);
  ASSERT_EQ(trace.records.size(), 321u);
  ASSERT_EQ(Shell("\"$record\" --out whole -- ./tiny").status, 0);
  const Trace whole = Read("whole");
  ASSERT_GT(whole.records.size(), 321u);
  for (std::size_t i = 0; i < 321; ++i) {
    EXPECT_EQ(trace.records[i].page, whole.records[i].page);
    EXPECT_EQ(trace.records[i].kind, whole.records[i].kind);
    EXPECT_LE(trace.records[i].repeat, whole.records[i].repeat);
  }
}

TEST_F(RecordTraceTest, TheProgramSeesAFixedEnvironment) {
  const Outcome outcome = Shell(
      "export LC_ALL=C.UTF-8 COLOUR=red; \"$record\" --out t -- env | sort");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out,
            "LC_ALL=C\nPATH=/usr/bin:/bin\nPERL_HASH_SEED=0\n"
            "PYTHONHASHSEED=0\nTZ=UTC0\n");
}

TEST_F(RecordTraceTest, BadFlagsAreRefused) {
  ExpectRefusal(Shell("\"$record\""), "no program to record");
  ExpectRefusal(Shell("\"$record\" --out"), "--out");
  ExpectRefusal(Shell("\"$record\" --colour red -- true"), "--colour");
  ExpectRefusal(Shell("\"$record\" --max-references 0 -- true"), "'0'");
  ExpectRefusal(Shell("\"$record\" --max-records 1x -- true"), "'1x'");
  ExpectRefusal(Shell("\"$record\" --max-records 1000000000 -- true"),
                "1000000000");
  ExpectRefusal(Shell("\"$info\""), "no file");
  ExpectRefusal(Shell("\"$info\" --colour"), "--colour");
}

TEST_F(RecordTraceTest, WhatIsNoProgramIsRefused) {
  ExpectRefusal(Shell("\"$record\" -- no-such-program"), "no-such-program");
  std::ofstream(Path("script")) << "#!/bin/sh\n" << std::string(100, '\n');
  chmod(Path("script").c_str(), 0755);
  ExpectRefusal(Shell("\"$record\" -- ./script"), "not an x86-64 program");
  ExpectRefusal(Shell("\"$record\" -- ./"), "not an executable file");
}

TEST_F(RecordTraceTest, AMissingEmulatorIsNamedWithItsPackage) {
  WriteTinyProgram("tiny");
  ExpectRefusal(Shell("PATH=/nowhere; \"$record\" -- ./tiny"), "qemu-user");
}

TEST_F(RecordTraceTest, BadTracesAreRefused) {
  WriteTinyProgram("tiny");
  ASSERT_EQ(Shell("\"$record\" --out good -- ./tiny").status, 0);
  const std::string good = ReadAll(Path("good"));
  std::ofstream(Path("truncated")) << good.substr(0, good.size() / 2);
  std::string changed = good;
  changed[good.size() / 2] = static_cast<char>(changed[good.size() / 2] ^ 1);
  std::ofstream(Path("corrupt")) << changed;
  std::string newer = good;
  newer[8] = 2;
  std::ofstream(Path("newer")) << newer;
  ExpectRefusal(Shell("\"$info\" truncated"), "truncated");
  ExpectRefusal(Shell("\"$info\" corrupt"), "corrupt");
  ExpectRefusal(Shell("\"$info\" newer"), "version 2 is newer");
  ExpectRefusal(Shell("\"$info\" absent"), "absent");
}

TEST_F(RecordTraceTest, AProgramThatIsKilledLeavesNoTrace) {
  ExpectRefusal(Shell("\"$record\" --out t -- sh -c 'kill -KILL $$'"),
                "killed by signal 9");
  EXPECT_FALSE(std::filesystem::exists(Path("t")));
}

TEST_F(RecordTraceTest, AProgramThatReplacesItselfLeavesNoTrace) {
  ExpectRefusal(Shell("\"$record\" --out t -- sh -c 'exec true'"),
                "replaced itself");
  EXPECT_FALSE(std::filesystem::exists(Path("t")));
}

TEST_F(RecordTraceTest, AFailedReplacementIsNoEnd) {
  const Outcome outcome =
      Shell("\"$record\" --out t -- sh -c 'exec /no/such/program; true' 2>&1");
  ASSERT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_TRUE(absl::StrContains(outcome.out, "ended with status 127"))
      << outcome.out;
  EXPECT_EQ(Read("t").ending, Ending::kProgramEnded);
}

TEST_F(RecordTraceTest, AProgramMayCloseItsDescriptors) {
  const Outcome outcome =
      Shell("\"$record\" --out t -- sh -c 'exec 0<&- 1>&- 2>&-; : done'");
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_GT(Read("t").references, 10'000u);
}

// The loop makes more than a hundred thousand references; a fork, few.
TEST_F(RecordTraceTest, AForkedChildIsNotRecorded) {
  const std::string loop =
      "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; echo $i";
  Outcome outcome =
      Shell(absl::StrCat("\"$record\" --out own -- sh -c '", loop, "'"));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  outcome = Shell(
      absl::StrCat("\"$record\" --out fork -- sh -c '(", loop, "); true'"));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "300\n") << "the child runs to its end";
  EXPECT_GT(Read("own").references, Read("fork").references + 100'000);
}

// Two threads compress as much as one does, in memory of their own each.
TEST_F(RecordTraceTest, ThreadsShareOneStream) {
  std::ofstream input(Path("input"));
  for (unsigned i = 0; i < 1200; ++i) input << i * 2654435761u << "\n";
  input.close();
  for (const absl::string_view threads : {"1", "2"}) {
    const Outcome outcome = Shell(absl::StrCat(
        "\"$record\" --out ", threads, " -- xz -0 --block-size=4096 -T",
        threads, " -k -c input | xz -d | cmp - input"));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  const Trace one = Read("1");
  const Trace two = Read("2");
  EXPECT_NEAR(
      static_cast<double>(two.references) / static_cast<double>(one.references),
      1, 0.3);
  EXPECT_GT(two.pages, one.pages + 20);
}

TEST_F(RecordTraceTest, ARecordingCanBeRepeated) {
  const absl::StatusOr<Trace> before = ReadTrace("bench/traces/sort.trace");
  ASSERT_TRUE(before.ok()) << before.status();
  std::string command =
      absl::StrCat("'", absolute("tools/trace/make_inputs").string(), "' . && ",
                   "\"$record\" --out again.trace --max-records 100000000 -- ",
                   before->program);
  for (const std::string& argument : before->arguments) {
    absl::StrAppend(&command, " '", argument, "'");
  }
  const Outcome outcome = Shell(command);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const Trace again = Read("again.trace");
  EXPECT_EQ(again.ending, before->ending);
  EXPECT_NEAR(again.pages, before->pages, 0.1 * before->pages);
  const auto records = static_cast<double>(before->records.size());
  EXPECT_NEAR(static_cast<double>(again.records.size()), records,
              0.1 * records);
  const auto references = static_cast<double>(before->references);
  EXPECT_NEAR(static_cast<double>(again.references), references,
              0.1 * references);
}

}  // namespace
}  // namespace ptage::bench
