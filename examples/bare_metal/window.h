// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kernel's page tables, and a stretch of addresses in them, the window,
// whose pages come and go: a page that is touched gets a frame, and what it
// held; a page that is zapped gives its frame back.
//
// Contract
//   Any CPU may call anything at any time, but for the constructor; and OnFault
//   from a fault of its own. A page is one word, and keeps its value while it
//   has no frame. Who touches pages of the window does so between Cpus::Enter
//   and Leave.
//
//   Progress: Look wait-free; OnFault waits for a free frame, which another
//   CPU's Zap supplies, and for other faults; the others as page_table.h says.

#ifndef PTAGE_EXAMPLES_BARE_METAL_WINDOW_H_
#define PTAGE_EXAMPLES_BARE_METAL_WINDOW_H_

#include <cstddef>
#include <cstdint>

#include "examples/bare_metal/cpus.h"
#include "examples/bare_metal/machine.h"
#include "ptage/core.h"

#if KERNEL_LEVELS == 5
using Format = ptage::X86_64La57;
#else
using Format = ptage::X86_64;
#endif

// Bits of pages of the window, one each.
template <std::size_t kPages>
class PageBits {
 public:
  [[nodiscard]] ptage::Bitmap View() { return ptage::Bitmap(words_, kPages); }
  [[nodiscard]] bool Test(std::size_t page) const {
    return (words_[page / 64] >> page % 64 & 1) != 0;
  }
  void Set(std::size_t page) {
    words_[page / 64] |= std::uint64_t{1} << page % 64;
  }
  [[nodiscard]] std::uint64_t Count() const {
    std::uint64_t count = 0;
    for (const std::uint64_t word : words_) count += ptage::CountLanes(word);
    return count;
  }
  friend bool operator==(const PageBits&, const PageBits&) = default;

 private:
  std::uint64_t words_[kPages / 64] = {};
};

class Window {
 public:
  using Memory = ptage::TableArena<Format>;
  using Reclaim = ptage::AnonymousEpochDomain<8>;
  using Tree = ptage::PageTable<Format, Memory, Reclaim, Cpus>;
  using Word = Format::Word;
  using Walk = ptage::LocklessWalk<Reclaim>;

  // Half of the pages can have frames at a time.
  static constexpr std::size_t kPages = 1024;
  static constexpr std::size_t kFrames = 512;
  static constexpr ptage::Gfn kBegin{0x40000};  // from address 1 GiB on
  using Bits = PageBits<kPages>;

  // Pages first … first + count − 1, as the tables number them.
  static constexpr ptage::GfnRange Pages(std::size_t first, std::size_t count) {
    return ptage::GfnRange{kBegin + first, kBegin + first + count};
  }
  static constexpr std::size_t PageOf(ptage::Gfn gfn) { return gfn - kBegin; }
  // The word of a page, by its address in the window.
  static volatile std::uint64_t& At(std::size_t page) {
    return *reinterpret_cast<volatile std::uint64_t*>((kBegin.value + page)
                                                      << Format::kPageBits);
  }

  explicit Window(Cpus& cpus);
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  [[nodiscard]] Tree& tree() { return tree_; }
  [[nodiscard]] Reclaim& reclaimer() { return reclaimer_; }
  [[nodiscard]] std::uint64_t TablesInUse() { return memory_.InUse(); }
  [[nodiscard]] std::size_t FramesFree();
  // What CR3 is to hold.
  [[nodiscard]] std::uint64_t Root() {
    return memory_.FrameOf(tree_.root()).value << Format::kPageBits;
  }

  // Maps `level`'s page at `gfn` to the frame of the same number or another. A
  // leaf for this kernel alone: formats make it one for user mode too, which
  // processors with SMEP and SMAP would keep the kernel from.
  void Map(ptage::Gfn gfn, ptage::Level level, ptage::Pfn pfn,
           ptage::Rights rights, Word more = 0);

  // What of the pages was accessed, or written, since the last look that
  // cleared. Returns how many entries were.
  template <ptage::HarvestBit kBit = ptage::HarvestBit::kAccessed>
  std::uint64_t Look(ptage::GfnRange range, ptage::AgeAction action,
                     Bits& bits);

  // Gives the page a frame with what it held. False: the access is not one that
  // this could make good.
  [[nodiscard]] bool OnFault(std::uint64_t address, ptage::Rights access);

  // Takes the pages' frames away; what they were written goes to `dirty`.
  // Returns how many had one.
  std::uint64_t Zap(ptage::GfnRange range, Bits& dirty);
  // The same for whole tables, which go with their pages. Returns the number of
  // tables.
  std::uint64_t RemoveTables(ptage::GfnRange range, Bits& dirty);

  // What the page holds, whether it has a frame or not. Precondition: no other
  // CPU uses it.
  [[nodiscard]] std::uint64_t Value(std::size_t page);

 private:
  struct alignas(4096) Frame {
    std::uint64_t word;
  };

  static constexpr std::size_t kTables = 32;

  ptage::Pfn PfnOf(const Frame& frame) const {
    return ptage::Pfn{reinterpret_cast<std::uintptr_t>(&frame) >>
                      Format::kPageBits};
  }
  Frame* TakeFrame();
  void GiveFrame(Frame& frame);
  // A leaf leaves the tables: no CPU uses it any more.
  void Keep(const ptage::TakenLeaf<Format>& leaf, Bits& dirty);

  // All of this lies where its address is its physical address.
  alignas(
      4096) static inline constinit ptage::Table<Format> tables_[kTables] = {};
  static inline constinit ptage::TableInfo<Format> infos_[kTables] = {};
  static inline constinit Frame frames_[kFrames] = {};
  static inline constinit std::uint64_t kept_[kPages] = {};

  Memory memory_;
  Reclaim reclaimer_;
  Tree tree_;
  Cpus& cpus_;

  ptage::SpinLock faults_lock_;
  ptage::SpinLock frames_lock_;
  std::size_t free_ = kFrames;
  Frame* free_frames_[kFrames];
};

// ---------------------------------------------------------------------------

inline Window::Window(Cpus& cpus)
    : memory_(tables_, infos_, /*gfns=*/nullptr, kTables,
              ptage::Pfn{reinterpret_cast<std::uintptr_t>(tables_) >>
                         Format::kPageBits}),
      tree_(memory_, reclaimer_, cpus, ptage::TableKind::kDirect),
      cpus_(cpus) {
  for (std::size_t i = 0; i < kFrames; ++i) free_frames_[i] = &frames_[i];
}

inline void Window::Map(ptage::Gfn gfn, ptage::Level level, ptage::Pfn pfn,
                        ptage::Rights rights, Word more) {
  const Walk walk(reclaimer_);
  const Word leaf =
      (Format::MakeLeaf(pfn, level, rights) & ~Format::kUser) | more;
  if (!walk || tree_.Map(walk, gfn, level, leaf) != ptage::MapOutcome::kDone) {
    PrintLine("WRONG page ", Hex{gfn.value}, " cannot be mapped");
    Exit(ExitCode::kWrong);
  }
}

template <ptage::HarvestBit kBit>
std::uint64_t Window::Look(ptage::GfnRange range, ptage::AgeAction action,
                           Bits& bits) {
  const Walk walk(reclaimer_);
  ptage::AgeCounts counts;
  const ptage::AgeOutput output{
      .begin = kBegin, .young = bits.View(), .counts = &counts};
  (void)ptage::Harvest<kBit>(tree_, walk, range, action,
                             ptage::AgeMode::kFastOnly, output);
  return counts.young;
}

inline bool Window::OnFault(std::uint64_t address, ptage::Rights access) {
  const ptage::Gfn gfn{address >> Format::kPageBits};
  if (!Pages(0, kPages).Contains(gfn)) return false;
  Frame* const frame = TakeFrame();
  // It is born accessed: the access that wants it is about to be made.
  const Word leaf =
      ptage::Used<Format>(Format::MakeLeaf(PfnOf(*frame), ptage::Level{1},
                                           ptage::Rights::kReadWrite) &
                              ~Format::kUser,
                          access);
  // Tables need no lock here, but what the page held does. Were faults of one
  // page not one after the other:
  //   CPU A: finds it empty, takes what it held | CPU B: does so too, maps it
  //                                             | CPU B: writes; it is zapped
  //   CPU A: maps it with what it held before B wrote.
  const ptage::ScopedLock<ptage::SpinLock> hold(faults_lock_);
  for (;;) {
    const Walk walk(reclaimer_);
    const ptage::FoundEntry<Format> found = tree_.Lookup(walk, gfn);
    if (Format::IsPresent(found.word)) break;
    if (!ptage::IsFrozen<Format>(found.word)) {
      // Empty was read after whoever zapped the page had kept what it held.
      frame->word = kept_[PageOf(gfn)];
      const ptage::MapOutcome mapped =
          tree_.Map(walk, gfn, ptage::Level{1}, leaf);
      if (mapped == ptage::MapOutcome::kDone) return true;
      if (mapped != ptage::MapOutcome::kRetry) return false;
    }
    ptage::SpinPause();
  }
  // Another CPU was faster.
  GiveFrame(*frame);
  return true;
}

inline std::uint64_t Window::Zap(ptage::GfnRange range, Bits& dirty) {
  const Walk walk(reclaimer_);
  return tree_.Zap(walk, range, ptage::ZapFlush::kEach,
                   [&](const auto& leaf) { Keep(leaf, dirty); });
}

inline std::uint64_t Window::RemoveTables(ptage::GfnRange range, Bits& dirty) {
  const Walk walk(reclaimer_);
  return tree_.RemoveTables(walk, range,
                            [&](const auto& leaf) { Keep(leaf, dirty); });
}

inline void Window::Keep(const ptage::TakenLeaf<Format>& leaf, Bits& dirty) {
  const std::size_t page = PageOf(leaf.gfn);
  const std::uint64_t address = Format::FrameOf(leaf.word).value
                                << Format::kPageBits;
  auto& frame = *reinterpret_cast<Frame*>(address);
  kept_[page] = frame.word;
  if (ptage::IsDirty<Format>(leaf.word)) dirty.Set(page);
  GiveFrame(frame);
}

inline std::uint64_t Window::Value(std::size_t page) {
  const Walk walk(reclaimer_);
  const ptage::FoundEntry<Format> found = tree_.Lookup(walk, kBegin + page);
  if (!Format::IsPresent(found.word)) return kept_[page];
  return reinterpret_cast<Frame*>(Format::FrameOf(found.word).value
                                  << Format::kPageBits)
      ->word;
}

inline Window::Frame* Window::TakeFrame() {
  for (;;) {
    {
      const ptage::ScopedLock<ptage::SpinLock> hold(frames_lock_);
      if (free_ != 0) return free_frames_[--free_];
    }
    ptage::SpinPause();
  }
}

inline std::size_t Window::FramesFree() {
  const ptage::ScopedLock<ptage::SpinLock> hold(frames_lock_);
  return free_;
}

inline void Window::GiveFrame(Frame& frame) {
  const ptage::ScopedLock<ptage::SpinLock> hold(frames_lock_);
  free_frames_[free_++] = &frame;
}

#endif  // PTAGE_EXAMPLES_BARE_METAL_WINDOW_H_
