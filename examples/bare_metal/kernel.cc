// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A kernel that ages itself: its own page tables are ptage's, in the
// processor's format, and it finds out which of its pages were used, while
// another CPU uses them. It prints counts on the serial port, each of which can
// be no other, and ends with an exit code (machine.h). docs/bare_metal.md tells
// what they show.

#include <cstddef>
#include <cstdint>

#include "examples/bare_metal/cpus.h"
#include "examples/bare_metal/exceptions.h"
#include "examples/bare_metal/machine.h"
#include "examples/bare_metal/second_cpu.h"
#include "examples/bare_metal/window.h"
#include "ptage/core.h"

// Of kernel.ld and boot.S.
extern "C" {
extern const char memory_end[];
extern const char second_cpu_code[];
extern const char second_cpu_code_end[];
extern const char second_cpu_root[];
}

namespace {

using ptage::AgeAction;
using ptage::Gfn;
using ptage::GfnRange;
using ptage::HarvestBit;
using ptage::Level;
using ptage::Pfn;
using ptage::Rights;

using Bits = Window::Bits;

Window* window;  // set before anything can fault
constinit Word faults{0};

// --- Counts ------------------------------------------------------------------

// Prints a count, and ends if it is wrong.
void Expect(const char* what, std::uint64_t count, std::uint64_t expected) {
  if (count == expected) {
    PrintLine("  ", what, ": ", count);
    return;
  }
  PrintLine("WRONG ", what, ": ", count, ", not ", expected);
  Exit(ExitCode::kWrong);
}

// --- What the first CPU does -------------------------------------------------

// Maps the kernel's own memory, and the devices it uses, to themselves, and
// leaves the loader's tables.
void MapKernel() {
  constexpr std::uint64_t kLarge = ptage::FramesAt<Format>(Level{2});
  constexpr std::uint64_t kLast = 4 * kLarge;
  if (reinterpret_cast<std::uintptr_t>(memory_end) > kLast << 12) {
    PrintLine("WRONG size: the kernel ends at ",
              Hex{reinterpret_cast<std::uintptr_t>(memory_end)});
    Exit(ExitCode::kWrong);
  }
  for (std::uint64_t frame = 0; frame < kLast; frame += kLarge) {
    window->Map(Gfn{frame}, Level{2}, Pfn{frame}, Rights::kAll);
  }
  constexpr Window::Word kUncached = 1 << 4;  // SDM 3A 4.9
  window->Map(Gfn{kApic >> 12}, Level{1}, Pfn{kApic >> 12}, Rights::kReadWrite,
              kUncached);
  LoadRoot(window->Root());
}

constexpr GfnRange kAllPages = Window::Pages(0, Window::kPages);
// Those that have frames while only one CPU runs.
constexpr GfnRange kFirstPages = Window::Pages(0, Window::kFrames);

void AgeAlone() {
  PrintLine("one CPU");
  cpus.Enter();
  for (std::size_t page = 0; page < Window::kFrames; ++page) {
    const auto address = reinterpret_cast<std::uintptr_t>(&Window::At(page));
    if (!window->OnFault(address, Rights::kRead)) Exit(ExitCode::kWrong);
  }
  Bits born;
  Expect("born young",
         window->Look(kFirstPages, AgeAction::kTestAndClear, born),
         Window::kFrames);
  cpus.Flush(kFirstPages);

  Bits touched;
  for (std::size_t page = 0; page < Window::kFrames; page += 3) {
    Read(page);
    touched.Set(page);
  }
  Bits young;
  Expect("read 171 of 512 pages, young",
         window->Look(kFirstPages, AgeAction::kTestAndClear, young), 171);
  Expect("which are those read", young == touched, 1);
  Bits again;
  Expect("at once again, young",
         window->Look(kFirstPages, AgeAction::kTestAndClear, again), 0);

  // The processor walks the tables, and marks entries, only for what it has not
  // cached. Few pages, or it would forget some of itself.
  constexpr GfnRange kFew = Window::Pages(0, 8);
  const auto read_few = [] {
    for (std::size_t page = 0; page < 8; ++page) Read(page);
  };
  cpus.Flush(kFew);
  read_few();
  Bits few;
  Expect("read 8 pages, young",
         window->Look(kFew, AgeAction::kTestAndClear, few), 8);
  read_few();
  Expect("read them again without a flush, young",
         window->Look(kFew, AgeAction::kTestAndClear, few), 0);
  cpus.Flush(kFew);
  read_few();
  Expect("and with one, young",
         window->Look(kFew, AgeAction::kTestAndClear, few), 8);

  for (std::size_t page = 0; page < Window::kFrames; page += 5) Write(page);
  Bits dirty;
  Expect("wrote 103 pages, dirty",
         window->Look<HarvestBit::kDirty>(kFirstPages, AgeAction::kTest, dirty),
         103);
  cpus.Leave();
}

// One bit for 512 pages, and then one for each.
void SplitALargePage() {
  PrintLine("a large page");
  constexpr GfnRange kLarge = Window::Pages(512, 512);
  cpus.Enter();
  window->Map(kLarge.begin, Level{2}, Pfn{0}, Rights::kRead);
  Bits young;
  Expect("before it is read, young pages",
         (window->Look(kLarge, AgeAction::kTest, young), young.Count()), 0);
  Read(512 + 17);
  Expect("read one page of 512, young pages",
         (window->Look(kLarge, AgeAction::kTest, young), young.Count()), 512);
  {
    const Window::Walk walk(window->reclaimer());
    const bool split = window->tree().Split(walk, kLarge.begin, Level{2}) ==
                       ptage::StructureOutcome::kDone;
    Expect("split", split, 1);
  }
  Bits all;
  Expect("young entries", window->Look(kLarge, AgeAction::kTestAndClear, all),
         512);
  cpus.Flush(kLarge);
  for (std::size_t page = 512; page < 512 + 7; ++page) Read(page);
  Bits some;
  Expect("read 7 pages, young entries",
         window->Look(kLarge, AgeAction::kTestAndClear, some), 7);
  cpus.Leave();
  const Window::Walk walk(window->reclaimer());
  std::uint64_t leaves = 0;
  Expect(
      "tables removed",
      window->tree().RemoveTables(walk, kLarge, [&](const auto&) { ++leaves; }),
      1);
  Expect("leaves in them", leaves, 512);
}

void StartSecond() {
  PrintLine("two CPUs");
  // Below 1 MiB, and used by nobody.
  constexpr std::uintptr_t kPage = 0x8000;
  auto* const page = reinterpret_cast<volatile char*>(kPage);
  const auto root = static_cast<std::uint32_t>(window->Root());
  for (const char* at = second_cpu_code; at < second_cpu_code_end; ++at) {
    page[at - second_cpu_code] = *at;
  }
  *reinterpret_cast<volatile std::uint32_t*>(
      kPage + static_cast<std::uintptr_t>(second_cpu_root - second_cpu_code)) =
      root;
  StartSecondCpu(kPage);
  WaitFor(Begin(Work::kNothing));
}

constexpr GfnRange kHotPages = Window::Pages(0, kHot);
constexpr std::uint64_t kLooks = 20;

// The second CPU writes the same pages all the time; this one takes their dirty
// bits, has the other forget what it has cached, and then ages them, over and
// over, while they become dirty again. Aging takes no dirty bit away.
void AgeWhatIsWritten() {
  (void)Begin(Work::kWriteOn);
  std::uint64_t dirty = 0;
  for (std::uint64_t look = 0; look < kLooks; ++look) {
    Bits clean;
    (void)window->Look<HarvestBit::kDirty>(kHotPages, AgeAction::kTestAndClear,
                                           clean);
    cpus.Flush(kHotPages);
    WaitForATurn([] {
      (void)FetchAdd(passes, 1, ptage::kAcqRel);
      Bits young;
      (void)window->Look(kHotPages, AgeAction::kTestAndClear, young);
    });
    Bits written;
    dirty +=
        window->Look<HarvestBit::kDirty>(kHotPages, AgeAction::kTest, written);
  }
  WaitFor(Begin(Work::kNothing));
  Expect("20 looks at 64 pages being written, dirty", dirty, kLooks * kHot);
}

// The second CPU reads pages, each once, in rounds; this one looks all the
// time. Each access is found, and none twice.
void AgeWhileReading() {
  constexpr std::uint64_t kRounds = 16;
  std::uint64_t reads = 0, young = 0, wrong = 0, busy = 0;
  Bits before;
  (void)window->Look(kFirstPages, AgeAction::kTestAndClear, before);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    Bits used, seen;
    for (std::size_t page = 0; page < Window::kFrames; ++page) {
      if (IsUsed(page, round)) used.Set(page);
    }
    reads += used.Count();
    const std::uint64_t work = Begin(Work::kRead, round);
    for (bool last = false; !last;) {
      last = IsFinished(work);
      const std::uint64_t found =
          window->Look(kFirstPages, AgeAction::kTestAndClear, seen);
      young += found;
      if (!last && found != 0) ++busy;
      (void)FetchAdd(passes, 1, ptage::kAcqRel);
    }
    if (!(used == seen)) ++wrong;
  }
  Expect("rounds with another set of pages than was read", wrong, 0);
  Expect("pages read", reads, 4057);
  Expect("young", young, reads);
  PrintLine("# passes that found pages while more were being read: ", busy);
}

// The second CPU reads the same pages all the time, from what it has cached,
// but for the flushes that this one asks it for.
void AgeWhatIsRead() {
  (void)Begin(Work::kReadOn);
  std::uint64_t young = 0;
  for (std::uint64_t look = 0; look < kLooks; ++look) {
    Bits seen;
    (void)window->Look(kHotPages, AgeAction::kTestAndClear, seen);
    cpus.Flush(kHotPages);
    WaitForATurn([] {});
    Bits hot;
    young += window->Look(kHotPages, AgeAction::kTest, hot);
  }
  WaitFor(Begin(Work::kNothing));
  Expect("20 looks at 64 pages being read, young", young, kLooks * kHot);
}

std::uint64_t SumOfValues() {
  std::uint64_t sum = 0;
  for (std::size_t page = 0; page < Window::kPages; ++page) {
    sum += window->Value(page);
  }
  return sum;
}

// The second CPU adds to pages all the time, while this one takes their frames.
void ZapWhatIsHot() {
  Bits dirty;
  Expect("pages zapped", window->Zap(kFirstPages, dirty), Window::kFrames);
  // Those that this CPU has written, and the others that the second one has.
  Expect("dirty", dirty.Count(), 154);
  const std::uint64_t sum = SumOfValues();
  const std::uint64_t turns_before = ReadOnce(turns, ptage::kAcquire);
  (void)Begin(Work::kWriteOn);
  constexpr std::uint64_t kZaps = 16;
  std::uint64_t zapped = 0;
  for (std::size_t page = 0; page < kZaps; ++page) {
    // It has cached the page by then, as one that it may write to.
    WaitForATurn([] { (void)FetchAdd(passes, 1, ptage::kAcqRel); });
    zapped += window->Zap(Window::Pages(page, 1), dirty);
  }
  WaitFor(Begin(Work::kNothing));
  const std::uint64_t added =
      (ReadOnce(turns, ptage::kAcquire) - turns_before) * kHot;
  Expect("zapped under their writer", zapped, kZaps);
  Expect("additions lost", sum + added - SumOfValues(), 0);
  PrintLine("# additions: ", added);
}

// Takes frames of pages that two looks have found cold, and now and then a
// table with all that it maps.
class Evictor {
 public:
  void Pass(Bits& dirty) {
    Bits young;
    (void)window->Look(kAllPages, AgeAction::kTestAndClear, young);
    constexpr std::size_t kPart = 64;
    const std::size_t begin = pass_ * kPart % Window::kPages;
    for (std::size_t page = begin; page < begin + kPart; ++page) {
      if (young.Test(page) || young_.Test(page)) continue;
      zapped_ += window->Zap(Window::Pages(page, 1), dirty);
    }
    if (pass_ % 16 == 15) {
      tables_ +=
          window->RemoveTables(Window::Pages(pass_ / 16 % 2 * 512, 512), dirty);
    }
    young_ = young;
    ++pass_;
  }
  [[nodiscard]] std::uint64_t zapped() const { return zapped_; }
  [[nodiscard]] std::uint64_t tables() const { return tables_; }

 private:
  Bits young_;
  std::uint64_t pass_ = 0;
  std::uint64_t zapped_ = 0;
  std::uint64_t tables_ = 0;
};

// The second CPU writes to twice as many pages as have frames, in rounds; this
// one ages them and evicts what is cold. Each write is found by its dirty bit,
// and none is lost with a frame.
void EvictWhileWriting() {
  constexpr std::uint64_t kRounds = 2;
  Evictor evictor;
  Bits old;
  (void)window->RemoveTables(kAllPages, old);
  const std::uint64_t sum = SumOfValues();
  std::uint64_t writes = 0, dirty = 0, wrong = 0;
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    Bits used, seen;
    for (std::size_t page = 0; page < Window::kPages; ++page) {
      if (IsUsed(page, round)) used.Set(page);
    }
    writes += used.Count();
    const std::uint64_t work = Begin(Work::kWrite, round);
    for (bool last = false; !last;) {
      last = IsFinished(work);
      evictor.Pass(seen);
      (void)FetchAdd(passes, 1, ptage::kAcqRel);
    }
    // It is outside, and forgets what it has cached before the next round.
    (void)window->Look<HarvestBit::kDirty>(kAllPages, AgeAction::kTestAndClear,
                                           seen);
    dirty += seen.Count();
    if (!(used == seen)) ++wrong;
  }
  Expect("pages written", writes, 1013);
  Expect("dirty", dirty, writes);
  Expect("rounds with another set of pages than was written", wrong, 0);
  Expect("additions lost", sum + writes - SumOfValues(), 0);
  PrintLine("# evicted: ", evictor.zapped(),
            ", and with tables: ", evictor.tables(),
            "; faults: ", ReadOnce(faults, ptage::kAcquire));
}

void TakeAllBack() {
  PrintLine("the end");
  Bits dirty;
  (void)window->RemoveTables(kAllPages, dirty);
  window->reclaimer().Synchronize();
  Expect("frames free", window->FramesFree(), Window::kFrames);
  Expect("tables in use", window->TablesInUse(), Format::kLevels + 2);
}

}  // namespace

extern "C" void OnException(const ExceptionFrame& frame) {
  if (frame.vector != kPageFault) {
    PrintLine("WRONG exception ", frame.vector, " at ", Hex{frame.rip});
    Exit(ExitCode::kException);
  }
  const std::uint64_t address = FaultAddress();
  (void)FetchAdd(faults, 1, ptage::kAcqRel);
  // Only who is inside uses pages that come and go.
  bool mapped = false;
  if ((frame.code & kFaultPresent) == 0 && cpus.IsInside()) {
    const Rights access =
        (frame.code & kFaultWrite) != 0 ? Rights::kWrite : Rights::kRead;
    cpus.Leave();
    mapped = window->OnFault(address, access);
    cpus.Enter();
  }
  if (!mapped) {
    PrintLine("WRONG page fault at ", Hex{address}, ", code ", frame.code,
              ", by ", Hex{frame.rip});
    Exit(ExitCode::kWrong);
  }
}

extern "C" [[noreturn]] void SecondCpuMain() {
  SetCpuNumber(1);
  LoadExceptionTable();
  for (std::uint64_t done = 0;;) {
    const std::uint64_t work = ReadOnce(wanted, ptage::kAcquire);
    if (work == done) {
      ptage::SpinPause();
      continue;
    }
    cpus.Enter();
    Do(work);
    cpus.Leave();
    done = work;
    WriteOnce(finished, work, ptage::kRelease);
  }
}

extern "C" [[noreturn]] void KernelMain() {
  SetCpuNumber(0);
  LoadExceptionTable();
  Window own(cpus);
  window = &own;
  PrintLine("ptage: ", static_cast<std::uint64_t>(Format::kLevels),
            " levels of tables");
  MapKernel();
  AgeAlone();
  SplitALargePage();
  Expect("page faults", ReadOnce(faults, ptage::kAcquire), 0);
  StartSecond();
  AgeWhatIsWritten();
  AgeWhatIsRead();
  AgeWhileReading();
  ZapWhatIsHot();
  EvictWhileWriting();
  TakeAllBack();
  PrintLine("done");
  Exit(ExitCode::kSuccess);
}
