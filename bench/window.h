// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One window of the contended benchmark: for some milliseconds the vCPUs replay
// a trace, while one thread ages their tables in a contender's way and, between
// blocks, evicts pages, and splits large leaves and promotes small ones.
//
// What a vCPU's thread executes is the same for every contender, but for the
// lock around a fault (guest.h). What the ager's thread does besides aging (its
// requests to flush, the evictor's and the splitter's turns) happens at the
// same times for every contender, as long as its lock lets it.

#ifndef PTAGE_BENCH_WINDOW_H_
#define PTAGE_BENCH_WINDOW_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "bench/clock.h"
#include "bench/contender.h"
#include "bench/duty.h"
#include "bench/guest.h"
#include "bench/preemption.h"
#include "bench/replay.h"
#include "bench/team.h"
#include "bench/truth.h"
#include "ptage/config.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/types.h"

namespace ptage::bench {

// A window in which a thread lost its CPU for longer at a time is dropped.
// Nothing that a window does takes as long, but to wait for a lock.
inline constexpr double kStolenNs = 100'000;

// What to do in a window. Times are in ticks.
struct WindowPlan {
  Contender contender = Contender::kNone;
  const Replay* replay = nullptr;
  std::uint64_t first_burst = 0;
  std::uint64_t length = 0;
  // The vCPUs are asked to flush, and a pass may start, this far apart.
  std::uint64_t period = 0;
  // Share of time that the ager ages, in pieces of `slice` where it is below 1.
  double duty = 1;
  std::uint64_t slice = 0;
  // Between two pages evicted; 0: none are.
  std::uint64_t evict_every = 0;
  // Between two large blocks that are split, or promoted if they were; 0: none.
  std::uint64_t split_every = 0;
  // Faults that have nothing to do with what is aged, after each burst.
  std::uint64_t unrelated_faults = 0;
  std::uint64_t seed = 0;
  bool check_truth = true;
};

// What one vCPU did. Times are in ticks.
struct VcpuWindow {
  std::uint64_t elapsed = 0;
  std::uint64_t translations = 0;
  std::uint64_t walks = 0;
  // From the reference that faulted to its translation.
  std::vector<std::uint32_t> faults;
  // Longest time for 16 references.
  std::uint64_t longest_gap = 0;
  // The thread came late, or lost its CPU for longer than kStolenNs.
  bool preempted = false;
};

struct WindowResult {
  std::vector<VcpuWindow> vcpus;
  bool preempted = false;  // any thread
  std::uint64_t aged_ticks = 0;
  std::uint64_t aged_blocks = 0;
  std::uint64_t passes = 0;
  std::uint64_t zaps = 0;
  // Splits and promotions.
  std::uint64_t splits = 0;
  AgeCounts counts;
  // Over whole passes, entries: tested, and left out.
  std::uint64_t tested = 0;
  std::uint64_t unanswered = 0;
  TruthCounts truth;
};

// A guest with its vCPUs.
class Machine {
 public:
  Machine(GuestKind kind, std::uint64_t pages, std::size_t vcpus,
          Leaves leaves = Leaves::kSmall);

  [[nodiscard]] Guest<sim::VcpuSet>& guest() { return guest_; }
  [[nodiscard]] std::size_t vcpus() const { return set_.size(); }

  // Runs a window: the vCPUs on `team`, one to a member, aging on the calling
  // thread.
  [[nodiscard]] WindowResult Run(const WindowPlan& plan, const TickRate& rate,
                                 Team& team);

 private:
  using Vcpu = sim::Vcpu<Format, Memory>;

  void RunVcpu(const WindowPlan& plan, std::size_t index, std::uint64_t begin,
               const TickRate& rate, VcpuWindow& result);
  // The slow path of a reference. Returns when it is translated.
  [[gnu::noinline]] inline void Fault(Vcpu& vcpu, Gfn frame, Rights needed,
                                      VcpuWindow& result);
  void Prepare(const WindowPlan& plan);

  sim::VcpuSet set_;
  Guest<sim::VcpuSet> guest_;
  // On pages of their own: the processor reads ahead, and would take lines from
  // a vCPU for a neighbour.
  struct alignas(4096) OwnVcpu {
    OwnVcpu(sim::VcpuSet& set, std::size_t index, Guest<sim::VcpuSet>& guest)
        : vcpu(set, index, guest.memory(), *guest.root()) {}
    Vcpu vcpu;
  };
  std::vector<std::unique_ptr<OwnVcpu>> vcpus_;
  Truth truth_;
  // Scanned by the spinner of `none`; a page of its own for the same reason.
  struct alignas(4096) OwnPage {
    Table<Format> table;
  };
  std::unique_ptr<OwnPage> own_page_;
  // Ticks of a whole sweep under the lock, as last seen.
  std::uint64_t locked_sweep_ = 0;
};

// ---------------------------------------------------------------------------

namespace internal {

// Steele, Lea and Flood 2014, with the constants of its authors.
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
  }
  // 0 … bound − 1; the bias is below bound ÷ 2^64.
  std::uint64_t Below(std::uint64_t bound) {
    return static_cast<std::uint64_t>(
        static_cast<unsigned __int128>(Next()) * bound >> 64);
  }

 private:
  std::uint64_t state_;
};

// The ager's side of a window.
class AgerLoop {
 public:
  AgerLoop(const WindowPlan& plan, std::uint64_t begin, sim::VcpuSet& set,
           Guest<sim::VcpuSet>& guest, Truth& truth,
           const Table<Format>& own_memory,
           std::vector<std::uint64_t> first_positions,
           std::uint64_t& locked_sweep, std::uint64_t stolen,
           const TickRate& rate, WindowResult& result)
      : plan_(plan),
        begin_(begin),
        set_(set),
        guest_(guest),
        truth_(truth),
        own_memory_(own_memory),
        first_positions_(std::move(first_positions)),
        locked_sweep_(locked_sweep),
        stolen_(stolen),
        rate_(rate),
        result_(result),
        random_(plan.seed),
        duty_(MakeDuty()) {}

  void Run();

 private:
  [[nodiscard]] bool Ages() const {
    return plan_.contender != Contender::kNone;
  }
  // Whether a lock is held from block to block.
  [[nodiscard]] bool Locks() const {
    return plan_.contender == Contender::kSlow;
  }
  [[nodiscard]] DutyBudget MakeDuty() {
    // What is held for a whole sweep is paid for as a whole.
    const std::uint64_t slice = Locks() ? locked_sweep_ : plan_.slice;
    return DutyBudget(plan_.duty, slice, slice == 0 ? 0 : random_.Below(slice));
  }
  void Tick();
  void EvictUntil(std::uint64_t now);
  void SplitUntil(std::uint64_t now);
  // Where the bits of what was zapped go.
  void HandOver(const ZappedLeaf& leaf) {
    if (leaf.accessed && truth_.passes() != 0) truth_.HandOver(leaf.gfn);
  }
  void AgeOneBlock();
  void FinishPass();
  void Spin() const;

  // Looks for a victim.
  static constexpr unsigned kTries = 1 << 12;

  const WindowPlan& plan_;
  const std::uint64_t begin_;
  sim::VcpuSet& set_;
  Guest<sim::VcpuSet>& guest_;
  Truth& truth_;
  const Table<Format>& own_memory_;
  const std::vector<std::uint64_t> first_positions_;
  std::uint64_t& locked_sweep_;
  const std::uint64_t stolen_;
  const TickRate& rate_;
  WindowResult& result_;
  SplitMix random_;

  DutyBudget duty_;

  std::uint64_t block_ = 0;     // next to be aged
  std::uint64_t covered_ = 0;   // blocks since the pass started
  std::uint64_t in_sweep_ = 0;  // blocks left until the lock is let go
  std::uint64_t sweep_begin_ = 0;
  // Since the pass started: entries left out that counts do not tell of.
  std::uint64_t skipped_ = 0;
  AgeCounts at_start_;
};

inline void AgerLoop::Tick() {
  set_.Flush(GfnRange{});
  if (!Ages()) return;
  // A pass lasts until every block was covered.
  if (truth_.passes() != 0 && covered_ < guest_.Blocks()) return;
  std::vector<std::uint64_t> positions(set_.size());
  for (std::size_t v = 0; v < set_.size(); ++v) {
    positions[v] = set_.PositionOf(v) - first_positions_[v];
  }
  truth_.StartPass(std::move(positions));
  covered_ = 0;
  skipped_ = 0;
  at_start_ = result_.counts;
}

inline void AgerLoop::EvictUntil(std::uint64_t now) {
  if (plan_.evict_every == 0) return;
  const std::uint64_t due = (now - begin_) / plan_.evict_every;
  const std::uint64_t end = begin_ + plan_.length;
  const FrameMap& frames = guest_.frames();
  const auto draw = [&] {
    return frames.NameAt(random_.Below(frames.Names()));
  };
  while (result_.zaps < due && Ticks() < end) {
    // Few pages are mapped when a run begins; a turn that finds none is over.
    std::uint64_t page = draw();
    unsigned tries = 0;
    while (tries < kTries && !guest_.Evictable(page)) {
      page = draw();
      ++tries;
    }
    if (tries < kTries) {
      guest_.Evict(page, [this](const ZappedLeaf& leaf) { HandOver(leaf); });
    }
    ++result_.zaps;
  }
}

inline void AgerLoop::SplitUntil(std::uint64_t now) {
  const std::size_t blocks = guest_.frames().LargePages().size();
  if (plan_.split_every == 0 || blocks == 0) return;
  const std::uint64_t due = (now - begin_) / plan_.split_every;
  const std::uint64_t end = begin_ + plan_.length;
  while (result_.splits < due && Ticks() < end) {
    guest_.Resize(static_cast<std::size_t>(random_.Below(blocks)),
                  [this](const ZappedLeaf& leaf) { HandOver(leaf); });
    ++result_.splits;
  }
}

inline void AgerLoop::FinishPass() {
  const AgeCounts& counts = result_.counts;
  result_.tested += counts.examined - at_start_.examined;
  result_.unanswered += skipped_ + counts.unanswered - at_start_.unanswered;
  ++result_.passes;
}

inline void AgerLoop::AgeOneBlock() {
  const std::uint64_t begin = Ticks();
  if (!Ages()) {
    Spin();
    result_.aged_ticks += Ticks() - begin;
    ++result_.aged_blocks;
    return;
  }
  if (in_sweep_ == 0) {
    guest_.BeginSweep();
    in_sweep_ = Locks() ? guest_.Blocks() : 1;
    sweep_begin_ = begin;
  }
  skipped_ += guest_.AgeBlock(block_, truth_.Output(result_.counts));
  block_ = block_ + 1 == guest_.Blocks() ? 0 : block_ + 1;
  ++result_.aged_blocks;
  if (--in_sweep_ == 0) guest_.EndSweep();
  const std::uint64_t end = Ticks();
  if (Locks() && in_sweep_ == 0) locked_sweep_ = end - sweep_begin_;
  result_.aged_ticks += end - begin;
  if (++covered_ == guest_.Blocks()) FinishPass();
}

inline void AgerLoop::Spin() const {
  std::uint64_t sum = 0;
  for (const SpteCell<Format>& entry : own_memory_.entries) {
    sum += ReadOnce(entry, kRelaxed);
  }
  // Nothing in the table is young.
  PTAGE_ASSERT(sum == 0);
}

inline void AgerLoop::Run() {
  const std::uint64_t end = begin_ + plan_.length;
  std::uint64_t tick = begin_;
  PreemptionWatch watch(stolen_, Ticks(), ThreadTime(rate_));
  for (std::uint64_t now = Ticks(); now < end; now = Ticks()) {
    watch.Look(now, Between::kWaiting);
    if (now >= tick) {
      Tick();
      while (tick <= now) tick += plan_.period;
    }
    if (in_sweep_ == 0) {
      EvictUntil(now);
      SplitUntil(now);
    }
    if (in_sweep_ != 0 || duty_.MayWork(now - begin_, result_.aged_ticks)) {
      AgeOneBlock();
    } else {
      SpinPause();
    }
  }
  result_.preempted = watch.lost();
  if (in_sweep_ != 0) guest_.EndSweep();
}

}  // namespace internal

inline Machine::Machine(GuestKind kind, std::uint64_t pages, std::size_t vcpus,
                        Leaves leaves)
    : set_(vcpus),
      guest_(kind, pages, set_, leaves),
      truth_(pages),
      own_page_(std::make_unique<OwnPage>()) {
  for (SpteCell<Format>& entry : own_page_->table.entries) {
    WriteOnce(entry, Format::Word{0}, kRelaxed);
  }
  for (std::size_t v = 0; v < vcpus; ++v) {
    vcpus_.push_back(std::make_unique<OwnVcpu>(set_, v, guest_));
  }
}

inline void Machine::Prepare(const WindowPlan& plan) {
  truth_.Reset();
  // Each contender finds the tables as if it had been at work for long. Without
  // locks nobody else is about, so any way of setting the bits will do.
  if (TraitsOf(plan.contender).action == AgeAction::kTest) {
    guest_.SetAllYoung();
  } else {
    guest_.ClearAllYoung();
  }
  guest_.Use(plan.contender);
  // Cached translations would hide the first references from the tables.
  set_.Flush(GfnRange{});
}

inline WindowResult Machine::Run(const WindowPlan& plan, const TickRate& rate,
                                 Team& team) {
  Prepare(plan);
  WindowResult result;
  result.vcpus.resize(vcpus());
  std::vector<std::uint64_t> first_positions;
  for (const auto& vcpu : vcpus_) {
    first_positions.push_back(vcpu->vcpu.stats().translations);
  }
  // All threads are awake by then.
  const std::uint64_t begin = Ticks() + rate.FromNanoseconds(20'000);
  const std::uint64_t stolen = rate.FromNanoseconds(kStolenNs);
  internal::AgerLoop ager(plan, begin, set_, guest_, truth_, own_page_->table,
                          std::move(first_positions), locked_sweep_, stolen,
                          rate, result);
  team.Start(
      [&](std::size_t v) { RunVcpu(plan, v, begin, rate, result.vcpus[v]); });
  while (Ticks() < begin) SpinPause();
  const bool late = Ticks() > begin + stolen;
  ager.Run();
  result.preempted = result.preempted || late;
  team.Join();
  for (const VcpuWindow& vcpu : result.vcpus) {
    result.preempted = result.preempted || vcpu.preempted;
  }
  if (plan.check_truth && plan.contender != Contender::kNone) {
    result.truth =
        truth_.Check(*plan.replay, plan.first_burst, guest_.frames());
  }
  return result;
}

void Machine::Fault(Vcpu& vcpu, Gfn frame, Rights needed, VcpuWindow& result) {
  const std::uint64_t begin = Ticks();
  do {
    const sim::NotRunning out(vcpu);
    const FaultOutcome outcome = guest_.Fault(frame.value, needed);
    // Nothing else can be right: the frame has a slot, and memory is enough.
    if (outcome != FaultOutcome::kMapped &&
        outcome != FaultOutcome::kSpurious && outcome != FaultOutcome::kRetry) {
      std::abort();
    }
  } while (!vcpu.Translate(frame, needed));
  result.faults.push_back(static_cast<std::uint32_t>(
      std::min<std::uint64_t>(Ticks() - begin, ~std::uint32_t{0})));
}

inline void Machine::RunVcpu(const WindowPlan& plan, std::size_t index,
                             std::uint64_t begin, const TickRate& rate,
                             VcpuWindow& outcome) {
  constexpr std::uint64_t kGroup = 16;
  static_assert(kBurst % kGroup == 0);
  Vcpu& vcpu = vcpus_[index]->vcpu;
  const FrameMap& frames = guest_.frames();
  const sim::VcpuStats stats = vcpu.stats();
  const std::uint64_t end = begin + plan.length;
  const std::uint64_t stolen = rate.FromNanoseconds(kStolenNs);
  // On this thread's stack, far from what the ager's thread writes.
  VcpuWindow result;
  result.faults.reserve(1 << 14);
  while (Ticks() < begin) SpinPause();
  vcpu.Resume();
  std::uint64_t last = Ticks();
  const std::uint64_t first = last;
  PreemptionWatch watch(stolen, first, ThreadTime(rate));
  std::size_t faults_before = 0;
  for (std::uint64_t number = plan.first_burst + index; last < end;
       number += vcpus()) {
    const Replay::Burst burst = plan.replay->At(number);
    for (std::uint64_t i = 0; i < kBurst && last < end; i += kGroup) {
      const auto refer = [&](std::uint64_t page, Rights needed) {
        if (!vcpu.Translate(Gfn{page}, needed)) [[unlikely]] {
          Fault(vcpu, Gfn{page}, needed, result);
        }
      };
      if (frames.ThroughDirectMap(i / kGroup)) {
        for (std::uint64_t j = i; j < i + kGroup; ++j) {
          const Step step = burst.first[j];
          refer(frames.DirectNameOf(burst.base + step.page()), step.needed());
        }
      } else {
        for (std::uint64_t j = i; j < i + kGroup; ++j) {
          const Step step = burst.first[j];
          refer(burst.base + step.page(), step.needed());
        }
      }
      const std::uint64_t now = Ticks();
      result.longest_gap = std::max(result.longest_gap, now - last);
      watch.Look(now, result.faults.size() == faults_before
                          ? Between::kWork
                          : Between::kWaiting);
      faults_before = result.faults.size();
      last = now;
    }
    if (plan.unrelated_faults == 0) continue;
    const sim::NotRunning out(vcpu);
    for (std::uint64_t i = 0; i < plan.unrelated_faults; ++i) {
      guest_.FaultElsewhere(number + i);
    }
    last = Ticks();
    watch.Look(last, Between::kWaiting);
  }
  vcpu.Pause();
  result.elapsed = last - first;
  result.preempted = watch.lost() || first > begin + stolen;
  result.translations = vcpu.stats().translations - stats.translations;
  result.walks = vcpu.stats().walks - stats.walks;
  outcome = std::move(result);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_WINDOW_H_
