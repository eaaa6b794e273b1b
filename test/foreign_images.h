// SPDX-License-Identifier: MIT OR Apache-2.0
//
// RAM images with x86-64 tables in them, good or bad, and a reference that
// walks one as simply as can be, with the manual's constants written out.

#ifndef PTAGE_TEST_FOREIGN_IMAGES_H_
#define PTAGE_TEST_FOREIGN_IMAGES_H_

#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "ptage/foreign.h"
#include "ptage/harvest.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "ptage/walk.h"

namespace ptage::test {

// Pages between two that fault.
class GuardedPages {
 public:
  explicit GuardedPages(std::size_t pages)
      : bytes_((pages + 2) * kPage),
        all_(static_cast<std::byte*>(mmap(
            nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    if (all_ == MAP_FAILED ||
        (pages != 0 &&
         mprotect(begin(), pages * kPage, PROT_READ | PROT_WRITE) != 0)) {
      std::abort();
    }
  }
  ~GuardedPages() { munmap(all_, bytes_); }
  GuardedPages(const GuardedPages&) = delete;
  GuardedPages& operator=(const GuardedPages&) = delete;

  [[nodiscard]] std::byte* begin() { return all_ + kPage; }

 private:
  static constexpr std::size_t kPage = 4096;
  const std::size_t bytes_;
  std::byte* const all_;
};

// What is asked of an image.
struct ImageQuestion {
  std::uint64_t root = 0;  // a frame
  // The first `low_pages` pages of the image lie at address 0, the others
  // behind a hole of kHole pages.
  std::size_t low_pages = ~std::size_t{0};
  int physical_bits = 52;
  std::uint64_t most_tables = 64;
  std::uint64_t budget = kNoBudget;
  AgeAction action = AgeAction::kTest;
  HarvestBit bit = HarvestBit::kAccessed;
};
inline constexpr std::uint64_t kHole = 16;

using Words = std::array<std::uint64_t, 512>;
using Image = std::vector<Words>;
// (first frame, frames), in ascending order; those that touch are one.
using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

inline void AddRun(Runs& runs, std::uint64_t first, std::uint64_t frames) {
  if (!runs.empty() && runs.back().first + runs.back().second == first) {
    runs.back().second += frames;
  } else {
    runs.emplace_back(first, frames);
  }
}

// One path after the other, depth first; and the image as it is left.
class Reference {
 public:
  Reference(const Image& start, const ImageQuestion& question)
      : image(start), question_(question), left_(question.most_tables) {
    Words* const root = PageAt(question.root);
    if (root == nullptr) return;
    path_.push_back(question.root);
    Walk(*root, 4, 0);
  }

  Image image;
  Runs leaves;  // well-formed
  Runs young;   // of these
  std::array<std::uint64_t, 4> errors{};

 private:
  Words* PageAt(std::uint64_t frame) {
    if (frame >= question_.low_pages) {
      if (frame < question_.low_pages + kHole) return nullptr;
      frame -= kHole;
    }
    return frame < image.size() ? &image[frame] : nullptr;
  }

  void Error(ForeignError error) { ++errors[static_cast<std::size_t>(error)]; }

  void Walk(Words& table, int level, std::uint64_t base) {
    for (unsigned i = 0; i < 512; ++i) {
      const std::uint64_t word = table[i];
      if ((word & 1) == 0) continue;
      const std::uint64_t frames = std::uint64_t{1} << (9 * (level - 1));
      const std::uint64_t gfn = base + i * frames;
      const bool large = level > 1 && (word & 0x80) != 0;
      bool malformed = false;
      for (int b = question_.physical_bits; b < 52; ++b) {
        malformed |= (word >> b & 1) != 0;
      }
      if (level == 4) malformed |= large;
      if (large && level == 3) malformed |= (word & 0x3FFF'E000) != 0;
      if (large && level == 2) malformed |= (word & 0x1F'E000) != 0;
      if (malformed) {
        Error(ForeignError::kReserved);
      } else if (level == 1 || large) {
        AddRun(leaves, gfn, frames);
        const std::uint64_t bit =
            question_.bit == HarvestBit::kAccessed ? 0x20 : 0x40;
        if ((word & bit) == 0) continue;
        AddRun(young, gfn, frames);
        if (question_.action == AgeAction::kTestAndClear) table[i] ^= bit;
      } else {
        Enter(word >> 12 & 0xFF'FFFF'FFFF, level - 1, gfn);
      }
    }
  }

  void Enter(std::uint64_t frame, int level, std::uint64_t base) {
    for (const std::uint64_t above : path_) {
      if (above == frame) return Error(ForeignError::kCycle);
    }
    if (left_ == 0) return Error(ForeignError::kTooMany);
    Words* const table = PageAt(frame);
    if (table == nullptr) return Error(ForeignError::kOutside);
    --left_;
    path_.push_back(frame);
    Walk(*table, level, base);
    path_.pop_back();
  }

  const ImageQuestion& question_;
  std::uint64_t left_;
  std::vector<std::uint64_t> path_;
};

// What a harvest says is young.
class YoungRuns {
 public:
  void SetYoung(GfnRange range) {
    AddRun(runs, range.begin.value, range.Frames());
  }
  void SetYoung(Gfn first, std::uint64_t lanes) {
    for (unsigned i = 0; i < 64; ++i) {
      if ((lanes >> i & 1) != 0) AddRun(runs, first.value + i, 1);
    }
  }
  void SetUnknown(GfnRange) { ++unknown; }
  void SetUnknown(Gfn, std::uint64_t) { ++unknown; }
  void Count(const AgeCounts& more) { counts += more; }

  Runs runs;
  std::uint64_t unknown = 0;
  AgeCounts counts;
};

// Walks and harvests a copy of the image, of which any byte outside faults.
// Empty if all is as the reference says; else what is not.
inline std::string CheckImage(const Image& image, ImageQuestion question) {
  constexpr std::size_t kPage = 4096;
  using Tree = ForeignTree<X86_64, ForeignRam>;
  if (question.low_pages > image.size()) question.low_pages = image.size();
  const std::size_t low = question.low_pages;
  const std::size_t high = image.size() - low;
  GuardedPages low_pages(low);
  GuardedPages high_pages(high);
  if (low != 0) std::memcpy(low_pages.begin(), image.data(), low * kPage);
  if (high != 0) {
    std::memcpy(high_pages.begin(), image.data() + low, high * kPage);
  }
  const RamBlock blocks[] = {
      {0, low * kPage, low_pages.begin()},
      {(low + kHole) * kPage, high * kPage, high_pages.begin()}};
  const ForeignRam ram(blocks, 2);
  const ForeignLimits limits{.physical_bits = question.physical_bits,
                             .most_tables = question.most_tables};
  constexpr GfnRange kAll{Gfn{0}, Gfn{std::uint64_t{1} << 36}};
  const Reference truth(image, question);

  const Tree walked(ram, Pfn{question.root}, limits);
  if (!walked.valid()) {
    return truth.leaves.empty() ? "" : "a root that is there is refused";
  }
  Runs leaves;
  WalkAll(walked, {}, kAll, [&](const VisitedEntry<X86_64>& visited) {
    AddRun(leaves, visited.covers.begin.value, visited.covers.Frames());
  });
  if (leaves != truth.leaves) return "a walk meets other leaves";
  for (unsigned e = 0; e < kForeignErrors; ++e) {
    if (walked.report().count[e] != truth.errors[e]) {
      return absl::StrFormat("a walk finds %d of error %d, not %d",
                             walked.report().count[e], e, truth.errors[e]);
    }
  }

  // Each piece is enough to come to a leaf.
  if (question.budget < 600) question.budget = 600;
  const Tree harvested(ram, Pfn{question.root}, limits);
  YoungRuns young;
  WalkCursor cursor(kAll);
  std::uint64_t turns = 0;
  while (!cursor.Done()) {
    const auto ask = [&]<HarvestBit kBit>() {
      return HarvestSome<kBit>(harvested, {}, cursor, question.budget,
                               question.action, AgeMode::kFastOnly, young);
    };
    const AgeResult answer =
        question.bit == HarvestBit::kAccessed
            ? ask.template operator()<HarvestBit::kAccessed>()
            : ask.template operator()<HarvestBit::kDirty>();
    if (!answer.complete || young.unknown != 0) return "something is unknown";
    if (++turns > 1'000'000) return "a harvest does not end";
  }
  if (harvested.report().tables > question.most_tables + 1) {
    return "more tables are entered than are allowed";
  }
  // A harvest in pieces enters some tables twice, and so may lack others.
  if (question.budget != kNoBudget &&
      harvested.report().Of(ForeignError::kTooMany) != 0) {
    return "";
  }
  if (young.runs != truth.young) return "a harvest finds others young";
  for (std::size_t page = 0; page < image.size(); ++page) {
    Words now;
    std::memcpy(now.data(),
                page < low ? low_pages.begin() + page * kPage
                           : high_pages.begin() + (page - low) * kPage,
                kPage);
    for (unsigned i = 0; i < 512; ++i) {
      if (now[i] != truth.image[page][i]) {
        return absl::StrFormat("word %d of page %d is %x, and should be %x", i,
                               page, now[i], truth.image[page][i]);
      }
    }
  }
  return "";
}

// An entry as one may meet it in an image of `pages`: mostly to a page of it,
// sometimes with a stray bit.
template <class Random>
std::uint64_t LikelyEntry(Random& random, std::size_t pages) {
  const std::uint64_t frame =
      random() % 8 == 0 ? random() >> 12 : random() % (pages + 2);
  std::uint64_t word = (frame << 12 & 0x000F'FFFF'FFFF'F000) | 0x7;
  if (random() % 2 == 0) word |= 0x20;
  if (random() % 2 == 0) word |= 0x40;
  if (random() % 4 == 0) word |= 0x80;
  if (random() % 4 == 0) word &= ~std::uint64_t{0x3FFF'E000};
  if (random() % 8 == 0) word ^= std::uint64_t{1} << random() % 64;
  return word;
}

// The page `i` of which leads to the page i + 1, for the first four, and some
// entries anywhere.
template <class Random>
Image RandomImage(Random& random, std::size_t pages, unsigned entries) {
  Image image(pages, Words{});
  for (std::size_t i = 0; i + 1 < pages && i < 3; ++i) {
    image[i][random() % 512] = (i + 1) << 12 | 0x27;
  }
  for (unsigned i = 0; i < entries; ++i) {
    image[random() % pages][random() % 512] = LikelyEntry(random, pages);
  }
  return image;
}

// The question that bytes ask: any bytes.
inline ImageQuestion QuestionOf(const std::uint8_t* bytes, std::size_t count,
                                std::size_t pages) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < count ? bytes[i] : 0;
  };
  ImageQuestion question;
  question.root = byte(0) % (pages + kHole + 1);
  if (byte(1) != 0) question.low_pages = byte(1) % (pages + 1);
  question.physical_bits = byte(2) == 0 ? 52 : static_cast<int>(byte(2) % 53);
  if (question.physical_bits < 16) question.physical_bits = 16;
  question.most_tables = byte(3) == 0 ? 64 : byte(3) % 64;
  if (byte(4) != 0) question.budget = 600 + byte(4) * 16;
  if (byte(5) % 2 != 0) question.action = AgeAction::kTestAndClear;
  if (byte(5) / 2 % 2 != 0) question.bit = HarvestBit::kDirty;
  return question;
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_FOREIGN_IMAGES_H_
