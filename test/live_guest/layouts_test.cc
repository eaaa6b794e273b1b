// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where guests' RAM lies, asked of QEMU itself: each layout against bytes that
// the guest-physical address leads to by QEMU's own way.

#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "examples/live_guest/backends.h"
#include "examples/live_guest/guest_ram.h"
#include "examples/live_guest/layout.h"
#include "examples/live_guest/qmp.h"
#include "gtest/gtest.h"
#include "ptage/types.h"
#include "test/live_guest/qemu.h"

namespace ptage {
namespace {

using namespace live_guest;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

struct Machine {
  const char* name;
  std::uint64_t mib;
  // Of the first backend, where there are two.
  std::uint64_t first_mib;
  // Where RAM under 4 GiB ends.
  std::uint64_t low_mib;
};

std::vector<std::string> ArgumentsOf(const test::ShortFolder& folder,
                                     const Machine& machine) {
  std::vector<std::string> arguments = {"-S", "-m",
                                        absl::StrCat(machine.mib, "M")};
  const auto add_backend = [&](const char* id, std::uint64_t mib) {
    arguments.push_back("-object");
    arguments.push_back(
        absl::StrFormat("memory-backend-file,id=%s,size=%dM,mem-path=%s,"
                        "share=on",
                        id, mib, folder.PathOf(id)));
  };
  std::string options = machine.name;
  if (machine.first_mib == 0) {
    add_backend("all", machine.mib);
    options += ",memory-backend=all";
  } else {
    add_backend("one", machine.first_mib);
    add_backend("two", machine.mib - machine.first_mib);
    for (const char* const node : {"node,memdev=one", "node,memdev=two"}) {
      arguments.push_back("-numa");
      arguments.push_back(node);
    }
  }
  arguments.push_back("-machine");
  arguments.push_back(options);
  return arguments;
}

// Eight bytes of guest-physical memory, as QEMU's monitor reads them.
std::uint64_t ReadByQemu(Qmp& qmp, std::uint64_t address) {
  const absl::StatusOr<std::string> text =
      qmp.Human(absl::StrFormat("xp /1gx 0x%x", address));
  if (!text.ok()) return 0;
  const std::vector<std::string> parts = absl::StrSplit(*text, "0x");
  std::uint64_t value = 0;
  return parts.size() == 2 && absl::SimpleHexAtoi(parts[1], &value) ? value : 0;
}

class LayoutsTest : public ::testing::TestWithParam<Machine> {
 protected:
  void SetUp() override {
    if (!test::HasQemu()) {
      GTEST_SKIP() << "skipped: no " << test::kQemu
                   << " (Debian's qemu-system-x86)";
    }
  }
};

TEST_P(LayoutsTest, EachAddressLeadsToTheBytesThatQemuReadsThere) {
  const Machine& machine = GetParam();
  const test::ShortFolder folder;
  const test::Qemu qemu(folder, ArgumentsOf(folder, machine));
  absl::StatusOr<Qmp> qmp = qemu.Connect();
  ASSERT_TRUE(qmp.ok()) << qmp.status();
  const auto layout = ReadLayout(*qmp);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto ram = GuestRam::Map(*layout, RamAccess::kReadWrite);
  ASSERT_TRUE(ram.ok()) << ram.status();

  // All but the hole for ROM and the screen under 1 MiB.
  const std::uint64_t bytes = machine.mib * kMiB;
  EXPECT_LE((*ram)->memory().Bytes(), bytes);
  EXPECT_GE((*ram)->memory().Bytes(), bytes - 384 * 1024);
  EXPECT_EQ((*ram)->Frames(), (*ram)->memory().Bytes() / 4096);

  // Both ends of each piece and of the hole, and many places in between: our
  // bytes are QEMU's.
  std::vector<std::uint64_t> addresses = {0, 0x9F000, 0x10'0000,
                                          machine.low_mib * kMiB - 4096};
  if (machine.low_mib < machine.mib) {
    addresses.push_back(4096 * kMiB);
    addresses.push_back((4096 + machine.mib - machine.low_mib) * kMiB - 4096);
  }
  std::mt19937_64 random(machine.mib);
  const std::uint64_t end = machine.low_mib < machine.mib
                                ? (4096 + machine.mib - machine.low_mib) * kMiB
                                : machine.low_mib * kMiB;
  for (int i = 0; i < 20; ++i)
    addresses.push_back(random() % end / 4096 * 4096);
  for (const FilePiece& piece : *layout) {
    addresses.push_back(piece.ram.address);
    addresses.push_back(piece.ram.address + piece.ram.bytes - 4096);
  }
  int inside = 0;
  for (const std::uint64_t address : addresses) {
    SCOPED_TRACE(absl::StrFormat("at 0x%x", address));
    const bool is_ram = (address < machine.low_mib * kMiB &&
                         (address < 0xA'0000 || address >= 0x10'0000)) ||
                        (address >= 4096 * kMiB && address < end);
    std::byte* const at = (*ram)->memory().At(address, 4096);
    const auto number = (*ram)->NumberOf(Pfn{address / 4096});
    if (!is_ram) {
      // The firmware's pages may be RAM or not.
      if (address >= 0x10'0000) {
        EXPECT_EQ(at, nullptr);
        EXPECT_FALSE(number.has_value());
      }
      continue;
    }
    ASSERT_NE(at, nullptr);
    ASSERT_TRUE(number.has_value());
    EXPECT_LT(*number, (*ram)->Frames());
    const std::uint64_t mark = random();
    std::memcpy(at + 8, &mark, sizeof mark);
    EXPECT_EQ(ReadByQemu(*qmp, address + 8), mark);
    ++inside;
  }
  EXPECT_GT(inside, 10);
}

std::string NameOf(const ::testing::TestParamInfo<Machine>& info) {
  return absl::StrCat(info.param.name, "_", info.param.mib, "MiB_",
                      info.param.first_mib == 0 ? "one" : "two", "_",
                      info.param.first_mib);
}

// What the machine has under 4 GiB: i440fx all of 3.5 GiB, and 3 GiB of more;
// q35 all of 2.75 GiB, and 2 GiB of more.
INSTANTIATE_TEST_SUITE_P(
    All, LayoutsTest,
    ::testing::Values(
        Machine{"pc", 1024, 0, 1024}, Machine{"pc", 2560, 0, 2560},
        Machine{"pc", 3072, 0, 3072}, Machine{"pc", 3584, 0, 3072},
        Machine{"pc", 4096, 0, 3072}, Machine{"pc", 6144, 0, 3072},
        Machine{"q35", 1024, 0, 1024}, Machine{"q35", 2560, 0, 2560},
        Machine{"q35", 3072, 0, 2048}, Machine{"q35", 3584, 0, 2048},
        Machine{"q35", 4096, 0, 2048}, Machine{"q35", 6144, 0, 2048},
        Machine{"pc", 1024, 512, 1024}, Machine{"pc", 4096, 1024, 3072},
        Machine{"pc", 4096, 3584, 3072}, Machine{"pc", 6144, 3072, 3072},
        Machine{"q35", 3072, 1024, 2048}, Machine{"q35", 4096, 2048, 2048},
        Machine{"q35", 6144, 4096, 2048}),
    NameOf);

class RefusedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::HasQemu()) {
      GTEST_SKIP() << "skipped: no " << test::kQemu
                   << " (Debian's qemu-system-x86)";
    }
  }
  absl::Status LayoutOf(const std::vector<std::string>& arguments) {
    const test::Qemu qemu(folder_, arguments);
    absl::StatusOr<Qmp> qmp = qemu.Connect();
    if (!qmp.ok()) return qmp.status();
    return ReadLayout(*qmp).status();
  }
  const test::ShortFolder folder_;
};

TEST_F(RefusedTest, RamThatIsNoFileIsExplained) {
  const absl::Status status = LayoutOf({"-S", "-m", "64M"});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "memory-backend-ram"))
      << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "share=on")) << status;
}

TEST_F(RefusedTest, RamThatIsAPrivateCopyIsExplained) {
  const absl::Status status = LayoutOf(
      {"-S", "-m", "64M", "-object",
       absl::StrCat("memory-backend-file,id=m,size=64M,share=off,mem-path=",
                    folder_.PathOf("ram")),
       "-machine", "pc,memory-backend=m"});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "private")) << status;
}

}  // namespace
}  // namespace ptage
