// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/layout.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

// As QEMU 7.2 prints it, shortened: 4 GiB of a q35.
constexpr char kMap[] =
    "FlatView #0\r\n"
    " AS \"I/O\", root: io\r\n"
    " Root memory region: io\r\n"
    "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\r\n"
    "\r\n"
    "FlatView #1\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-000000000009ffff (prio 0, ram): m\r\n"
    "  00000000000a0000-00000000000bffff (prio 1, ram): vga.vram\r\n"
    "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom\r\n"
    "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @00020000\r\n"
    "  0000000000100000-00000000001fffff (prio 0, ram): m @0000000000100000\r\n"
    "  0000000000200000-000000007fffffff (prio 0, ram): m @0000000000200000 "
    "KVM\r\n"
    "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\r\n"
    "  0000000100000000-000000017fffffff (prio 0, nv-ram): m "
    "@0000000080000000\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"cpu-smm-0\", root: memory\r\n"
    " Root memory region: memory\r\n"
    "  0000000000000000-00000000ffffffff (prio 0, ram): m\r\n";

TEST(LayoutTest, TakesTheRamOfTheViewThatCpusHave) {
  const auto pieces = ParseFlatView(kMap);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  const std::vector<RamPiece> expected = {
      {0, 0xA'0000, "m", 0},
      {0xA'0000, 0x2'0000, "vga.vram", 0},
      // Two lines that go on in guest and backend.
      {0x10'0000, 0x7FF0'0000, "m", 0x10'0000},
      {0x1'0000'0000, 0x8000'0000, "m", 0x8000'0000}};
  EXPECT_EQ(*pieces, expected);
}

std::string View(const std::string& lines) {
  return "FlatView #0\n AS \"memory\", root: system\n Root memory region: s\n" +
         lines;
}

TEST(LayoutTest, KeepsWholePagesAlone) {
  const auto pieces = ParseFlatView(
      View("  0000000000000800-00000000000037ff (prio 0, ram): a "
           "@0000000000001800\n"
           "  0000000000004000-00000000000047ff (prio 0, ram): b\n"
           // The page begins in the middle of one of the file's.
           "  0000000000005000-0000000000005fff (prio 0, ram): c "
           "@0000000000000800\n"));
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(*pieces, (std::vector<RamPiece>{{0x1000, 0x2000, "a", 0x2000}}));
}

TEST(LayoutTest, RefusesWhatItDoesNotUnderstand) {
  for (const char* const line :
       {"  0000-0fff prio 0\n", "  nonsense (prio 0, ram): m\n",
        "  0000000000001000-0000000000000fff (prio 0, ram): m\n",
        "  0000000000001000-0000000000001fff (prio 0, ram): m @zz\n",
        "  0000000000002000-0000000000002fff (prio 0, ram): m\n"
        "  0000000000001000-0000000000001fff (prio 0, ram): m\n"}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(ParseFlatView(View(line)).status()))
        << line;
  }
  EXPECT_TRUE(absl::StrContains(ParseFlatView("").status().message(),
                                "no address space"));
  EXPECT_TRUE(
      absl::StrContains(ParseFlatView(View("")).status().message(), "no RAM"));
}

}  // namespace
}  // namespace ptage::live_guest
