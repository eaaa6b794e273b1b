// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Calls every public function of the core, for every format and discipline,
// without a library or an operating system under it. check.py builds it with
// -ffreestanding -nostdlib, compares what it instantiates with what the headers
// declare, and runs it. Exit status 0: every answer was right; else the number
// of the first that was wrong.

#include "ptage/core.h"

namespace {

using namespace ptage;  // NOLINT: the program is about this namespace alone.

[[noreturn]] void Exit(int status) {
#if defined(__x86_64__)
  asm volatile("syscall" : : "a"(231), "D"(status) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long number asm("x8") = 94;
  register long first asm("x0") = status;
  asm volatile("svc 0" : : "r"(number), "r"(first) : "memory");
#elif defined(__riscv)
  register long number asm("a7") = 94;
  register long first asm("a0") = status;
  asm volatile("ecall" : : "r"(number), "r"(first) : "memory");
#else
#error "say how a program without a library ends here"
#endif
  __builtin_unreachable();
}

int g_check = 0;

void Expect(bool held) {
  ++g_check;
  if (!held) Exit(g_check > 255 ? 255 : g_check);
}

// Two roots, and what lies below them.
template <SpteFormat F>
constexpr unsigned kTables = 14 + 2 * kRootTables<F>;

template <SpteFormat F>
struct Block {
  alignas(1 << F::kPageBits) Table<F> tables[kTables<F>];
  TableInfo<F> infos[kTables<F>];
  Cell<std::uint64_t> gfns[kTables<F> * kEntriesPerTable<F>];
  RmapChunk<F> chunks[4];
  typename RmapChunks<F>::First firsts[2];
  typename RmapChunks<F>::Later laters[2];
  TableIdentity identities[kTables<F>];
};

template <SpteFormat F>
Block<F> g_block;

using Domain = AnonymousEpochDomain<4>;

int g_freed = 0;

// The quiescence of a kernel with one CPU that never leaves a section to
// another thread: what is retired inside one waits for its end.
class OneCpu {
 public:
  bool Enter() {
    ++depth_;
    return true;
  }
  void Exit() {
    if (--depth_ == 0) FreeAll();
  }
  void FreeAfterGrace(Retired& node) {
    node.next = waiting_;
    waiting_ = &node;
    if (depth_ == 0) FreeAll();
  }
  void Synchronize() { FreeAll(); }

 private:
  void FreeAll() {
    while (waiting_ != nullptr) {
      Retired& node = *waiting_;
      waiting_ = node.next;
      node.free(node, node.owner);
    }
  }
  unsigned depth_ = 0;
  Retired* waiting_ = nullptr;
};

void CheckTypes() {
  const Gfn gfn{5};
  Expect(gfn + 2 == Gfn{7} && Gfn{7} - gfn == 2 && Pfn{1} + 2 == Pfn{3});
  Expect(Level{2}.Below() == Level{1} && Level{2}.Above() == Level{3});
  const GfnRange range{Gfn{2}, Gfn{6}};
  Expect(range.Frames() == 4 && !range.Empty() && range.Contains(Gfn{5}));
  Expect(range.Contains(GfnRange{Gfn{3}, Gfn{4}}));
  Expect(range.Overlaps(GfnRange{Gfn{5}, Gfn{9}}));
  Expect(range.Clip(GfnRange{Gfn{5}, Gfn{9}}) == GfnRange{Gfn{5}, Gfn{6}});
  AgeResult result = AgeResult{.young = true} | AgeResult{.complete = false};
  result |= AgeResult{};
  Expect(result == AgeResult{.young = true, .complete = false});
  std::uint64_t words[2] = {};
  AgeCounts counts;
  const AgeOutput output{Gfn{2}, Bitmap(words, 64), Bitmap(words + 1, 64),
                         &counts};
  output.SetYoung(GfnRange{Gfn{3}, Gfn{5}});
  output.SetUnknown(GfnRange{Gfn{2}, Gfn{3}});
  output.Count(AgeCounts{.examined = 3});
  Expect(words[0] == 6 && words[1] == 1 && counts.examined == 3);
  const Bitmap bitmap(words, 64);
  bitmap.Set(0);
  bitmap.SetRange(8, 10);
  Expect(bitmap.Test(9) && !bitmap.Test(10) && bitmap.Wanted());
  Expect(bitmap.size() == 64 && !Bitmap().Wanted());
  Expect(bitmap.Word(0) == 0x307);
  Expect(Allows(Rights::kRead | Rights::kWrite, Rights::kWrite));
  Expect((Rights::kAll & Rights::kReadExecute) == Rights::kReadExecute);
}

void CheckOnce() {
  Cell<std::uint32_t> cell(1);
  WriteOnce(cell, 2, kRelease);
  Expect(TryCmpxchg(cell, 2, 3, kAcqRel) && !TryCmpxchg(cell, 2, 4, kRelaxed));
  Expect(FetchAdd(cell, 4, kAcqRel) == 3 && ReadOnce(cell, kAcquire) == 7);
  WriteOnce(cell, 7, kSeqCst);
  Expect(ReadOnce(cell, kSeqCst) == 7);
  ShardedCount<2> count;
  count.Add();
  Expect(count.Count() == 1);
  count.Take();
  Expect(count.Count() == 0);
  Gate<2> gate;
  const auto pass = gate.TryEnter();
  Expect(static_cast<bool>(pass));
  gate.Leave(pass);
  gate.Close([] { Expect(false); });
  Expect(!gate.TryEnter());
  gate.Open();
  Expect(*cell.Raw() == 7 &&
         *static_cast<const Cell<std::uint32_t>&>(cell).Raw() == 7);
  Plain<int> plain(g_check);
  plain.Set(2);
  Expect(plain.Get() == 2);
  SpinPause();
  Expect(ThreadHint() == ThreadHint());
  SpinLock lock;
  lock.Lock();
  lock.Unlock();
  const ScopedLock<SpinLock> hold(lock);
}

void CheckReclaim() {
  Domain domain;
  Retired object;
  object.free = [](Retired&, void* freed) { ++*static_cast<int*>(freed); };
  object.owner = &g_freed;
  {
    const LocklessWalk<Domain> walk(domain, WalkEntry::kWait);
    Expect(static_cast<bool>(walk));
    domain.Retire(object);
    domain.Poll();
    Expect(g_freed == 0 && domain.stats().Held() == 1);
  }
  domain.Synchronize();
  Expect(g_freed == 1 && domain.stats().freed == 1);
  const Domain::Section section = domain.Begin();
  Expect(static_cast<bool>(section));
  domain.End(section);
}

void CheckHistory() {
  static Cell<std::uint64_t> words[PageHistory::WordsFor(70)];
  for (auto& word : words) WriteOnce(word, std::uint64_t{0}, kRelaxed);
  const GfnRange range{Gfn{10}, Gfn{80}};
  PageHistory history(words, range);
  Expect(history.range() == range);
  history.Record(GfnRange{Gfn{70}, Gfn{90}}, true, true);
  Expect(
      AgeWithHistory(history, range, AgeAction::kTestAndClear, AgeOutput{}, [] {
        return AgeResult{};
      }).young);
  Expect(!history.Accessed(range, AgeAction::kTest, AgeOutput{}).young);
  Expect(history.Written(range, AgeAction::kTest, AgeOutput{}).young);
}

void CheckExternal() {
  OneCpu quiescence;
  ExternalReclaimer<OneCpu> reclaimer(quiescence);
  Retired object;
  int freed = 0;
  object.free = [](Retired&, void* owner) { ++*static_cast<int*>(owner); };
  object.owner = &freed;
  {
    const LocklessWalk<ExternalReclaimer<OneCpu>> walk(reclaimer);
    Expect(static_cast<bool>(walk));
    reclaimer.Retire(object);
    Expect(freed == 0);
  }
  reclaimer.Synchronize();
  Expect(freed == 1);
}

template <SpteFormat F>
void CheckSpte() {
  using Word = typename F::Word;
  const Pfn pfn{FramesAt<F>(Level{2})};
  const Word cold = F::MakeLeaf(pfn, Level{2}, Rights::kAll);
  Expect(F::IsPresent(cold) && F::IsLeaf(cold, Level{2}));
  Expect(F::FrameOf(cold) == pfn && F::RightsOf(cold) == Rights::kAll);
  Expect(F::FrameOf(F::SplitLeaf(cold, Level{2}, 3)) == pfn + 3);
  Expect(!F::IsLeaf(F::MakeInner(Pfn{1}), Level{2}));
  Expect(FramesAt<F>(Level{1}) == 1);
  Expect(PageAround<F>(Gfn{3}, Level{1}) == (GfnRange{Gfn{3}, Gfn{4}}));
  const Word used = cold | F::kAccessed | F::kDirty;
  Expect(IsYoung<F>(used) && IsDirty<F>(used) && !IsFrozen<F>(used));
  const Word written = Used<F>(cold, Rights::kWrite);
  Expect(IsYoung<F>(written) && IsDirty<F>(written));
  Expect(!IsYoung<F>(Aged<F>(written)) && IsDirty<F>(Aged<F>(written)));
  Expect(Cleaned<F>(Aged<F>(written)) == cold);
  Expect(LiveRights<F>(written) == Rights::kAll);
  SpteCell<F> entry(F::kEmpty);
  Expect(Install<F>(entry, used) && !Install<F>(entry, used));
  Expect(TestYoung<F>(entry).young && TestClearYoung<F>(entry).young);
  Expect(!TestClearYoungFastOnly<F>(entry).young);
  const auto ours = [] { return true; };
  const SpteAge age = AgeEntry<F>(entry, AgeAction::kTestAndClear, ours);
  Expect(age == SpteAge::kCold && CountsOf(age).examined == 1);
  Expect(ToResult(age, AgeMode::kFastOnly).complete);
  Expect(AgeSeen<F>(entry, F::kFrozen, AgeAction::kTest, ours) ==
         SpteAge::kFrozen);
  SpteCell<F> faulted(cold);
  const FastFaultOutcome fast = FastFaultSeen<F>(faulted, cold, Rights::kWrite);
  Expect(!NeedsSlowPath(fast));
  Expect((fast == FastFaultOutcome::kFixed) == kMarkedByFaults<F>);
  const Word seen = ReadOnce(entry, kAcquire);
  Expect(Freeze<F>(entry, seen));
  Restore<F>(entry, seen);
  Expect(Freeze<F>(entry, seen));
  Publish<F>(entry, used);
  int flushes = 0;
  Word taken = 0;
  const auto flush = [&] { ++flushes; };
  const auto sink = [&](Word word) { taken = word; };
  Expect(!ZapSeen<F>(entry, seen, flush, sink));
  Expect(Zap<F>(entry, flush, sink) == ZapOutcome::kZapped);
  Expect(flushes == 1 && taken == used);
  Expect(Freeze<F>(entry, F::kEmpty));
  Empty<F>(entry);
  Expect(ReadOnce(entry, kRelaxed) == F::kEmpty);
}

template <EnumerableRmaps D, TableMemory<typename D::Format> M>
void CheckRmap(D& rmaps, M& memory, SpinLock& mmu_lock) {
  using F = typename D::Format;
  Table<F>* const table = memory.Allocate(TableKind::kIndirect);
  TableInfo<F>& info = memory.InfoOf(table);
  info.base.Set(0);
  info.level.Set(1);
  info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
  Expect(info.Base() == Gfn{0} && info.AtLevel() == Level{1});
  const RmapFrame frame{Gfn{9}, Level{1}};
  for (unsigned i = 0; i < 3; ++i) {
    SpteCell<F>& entry = table->entries[i];
    WriteOnce(entry, F::MakeLeaf(Pfn{7}, Level{1}, Rights::kAll) | F::kAccessed,
              kRelaxed);
    RecordFrame<F>(memory, entry, Gfn{9});
    Expect(RecordedFrame<F>(memory, entry) == Gfn{9});
    Expect(RecordsFrame<F>(memory, entry, Gfn{9}, Level{1}));
    Expect(TranslatedFrame<F>(memory, entry) == Gfn{i});
  }
  RmapHead head{};
  const auto locked = [&](auto&& change) {
    // The others do without.
    const ScopedLock<SpinLock> hold(mmu_lock);
    return change();
  };
  Expect(locked([&] { return rmaps.Add(head, table->entries[0]); }) ==
         RmapAdd::kDone);
  Expect(TestYoung(rmaps, head, frame).young);
  Expect(TestClearYoungFastOnly(rmaps, head, frame).young);
  Expect(locked([&] { return rmaps.Add(head, table->entries[1]); }) ==
         RmapAdd::kDone);
  // Leaves a list to slow, or answers for it.
  Expect(TestClearYoungFastOnly(rmaps, head, frame).complete == D::kFastAging);
  Expect(TestClearYoung(rmaps, head, frame).young != D::kFastAging);
  Expect(locked([&] {
    return rmaps.Count(head) == 2 && rmaps.Any(head) != nullptr &&
           rmaps.Contains(head, table->entries[1]) &&
           !rmaps.Contains(head, table->entries[2]);
  }));
  Expect(locked([&] {
    int entries = 0;
    rmaps.ForEach(head, [&](SpteCell<F>&) { ++entries; });
    return entries == 2;
  }));
  if constexpr (OrderedRmaps<D>) {
    unsigned visited = 0;
    rmaps.Announce(head);
    Expect(rmaps.Visit(head, [&](SpteCell<F>&) {
      ++visited;
      return true;
    }) && visited == 2);
    Expect(!rmaps.Visit(head, [](SpteCell<F>&) { return false; }));
  }
  AgeCounts counts;
  Expect(
      !rmaps.Age(head, frame, AgeAction::kTest, AgeMode::kSlow, counts).young &&
      counts.examined == 2);
  Expect(!AgeRange(rmaps, &head, frame, 1, AgeAction::kTest, AgeMode::kSlow,
                   AgeOutput{}, counts)
              .young &&
         counts.examined == 4);
  Expect(locked([&] {
    return rmaps.Remove(head, table->entries[0]) &&
           rmaps.Remove(head, table->entries[1]) &&
           !rmaps.Remove(head, table->entries[2]);
  }));
  memory.Free(table);
}

template <SpteFormat F>
void CheckLockless(TableArena<F>& arena, Domain& domain, SpinLock& mmu_lock) {
  Block<F>& block = g_block<F>;
  using Arena = TableArena<F>;
  using Pool = GracePool<RmapChunks<F>, Domain>;
  Pool pool(domain, block.firsts, 2, block.laters, 2);
  Lockless<F, Arena, Pool> lockless(arena, pool);
  CheckRmap(lockless, arena, mmu_lock);
  Lockless<F, Arena, Pool, RmapWriters::kExcluded> excluded(arena, pool);
  CheckRmap(excluded, arena, mmu_lock);
  Lockless<F, Arena, Pool, RmapWriters::kLockHeadInOrder> ordered(arena, pool);
  CheckRmap(ordered, arena, mmu_lock);
  auto* const later = pool.AllocateLater();
  Expect(later != nullptr && pool.stats().in_use == 1);
  pool.Retire(later);
  auto* const first = pool.AllocateFirst();
  Expect(first != nullptr && pool.stats().waiting <= 3);
  pool.Retire(first);
}

template <SpteFormat F>
void CheckRmaps() {
  Block<F>& block = g_block<F>;
  using Arena = TableArena<F>;
  using Pool = FixedChunkPool<F>;
  Arena arena(block.tables, block.infos, block.gfns, kTables<F>, Pfn{64});
  Pool pool(block.chunks, 4);
  SpinLock mmu_lock;
  SingleEntryLockless<F, Arena, Pool> single(arena, pool, mmu_lock);
  CheckRmap(single, arena, mmu_lock);
  BitLocked<F, Arena, Pool> bit(arena, pool);
  CheckRmap(bit, arena, mmu_lock);
  Expect(pool.InUse() == 0 && arena.InUse() == 0);
  Domain domain;
  CheckLockless<F>(arena, domain, mmu_lock);
  Expect(domain.stats().Held() == 0 && arena.InUse() == 0);
}

// In no rmap.
template <SpteFormat F>
struct CountedParts {
  bool Add(SpteCell<F>&, unsigned) {
    ++added;
    return true;
  }
  void Remove(SpteCell<F>&) { ++removed; }
  unsigned added = 0;
  unsigned removed = 0;
};

template <SpteFormat F>
void CheckTrees() {
  Block<F>& block = g_block<F>;
  using Arena = TableArena<F>;
  using Tree = PageTable<F, Arena, Domain>;
  Arena arena(block.tables, block.infos, block.gfns, kTables<F>, Pfn{64});
  Domain domain;
  NoFlush no_flush;
  no_flush.Flush(GfnRange{});
  {
    Tree tree(arena, domain, no_flush, TableKind::kDirect);
    Tree nested(arena, domain, no_flush, TableKind::kIndirect);
    Expect(tree.valid() && nested.valid() && &tree.memory() == &arena);
    Expect(arena.TableAt(arena.FrameOf(tree.root())) == tree.root());
    Expect(arena.TableOf(tree.root()->entries[1]) == tree.root());
    Expect(arena.InfoOf(tree.root()).Kind() == TableKind::kDirect);
    const LocklessWalk<Domain> walk(domain);
    const std::uint64_t many = FramesAt<F>(Level{2});
    const Gfn last{Tree::kFrames - 1};
    Expect(RootTableOf(tree.root(), last) == tree.root() + kRootTables<F> - 1);
    Expect(tree.Lookup(walk, last).word == F::kEmpty);
    const GfnRange range{Gfn{many}, Gfn{2 * many}};
    Expect(tree.Map(walk, range.begin, Level{2},
                    F::MakeLeaf(Pfn{many}, Level{2}, Rights::kAll) |
                        F::kAccessed) == MapOutcome::kDone);
    Expect(tree.Lookup(walk, range.begin + 1).level == Level{2});
    Expect(
        !NeedsSlowPath(FastFault(tree, walk, range.begin + 1, Rights::kRead)));
    Expect(FastFault(tree, walk, Gfn{0}, Rights::kRead) ==
           FastFaultOutcome::kNotHere);
    Expect(tree.Split(walk, range.begin, Level{2}) == StructureOutcome::kDone);
    static std::uint64_t young[kEntriesPerTable<F> / 64];
    for (std::uint64_t& word : young) word = 0;
    const AgeOutput output{range.begin, Bitmap(young, many), Bitmap(), nullptr};
    WalkCursor cursor(range);
    while (!cursor.Done()) {
      Expect(HarvestSome(tree, walk, cursor, 100, AgeAction::kTestAndClear,
                         AgeMode::kFastOnly, output)
                 .young);
    }
    Expect(young[0] == ~std::uint64_t{0} && cursor.Rest().Empty());
    Expect(!Harvest(tree, walk, range, AgeAction::kTest, AgeMode::kSlow, output)
                .young);
    GfnRange pieces[2];
    Expect(SplitByTables(tree, walk, range, pieces, 2) == 1 &&
           pieces[0] == range);
    std::uint64_t in_runs = 0;
    {
      RunsOutput runs([&](GfnRange run, RunKind) { in_runs += run.Frames(); });
      Expect(!Harvest<HarvestBit::kDirty>(tree, walk, range, AgeAction::kTest,
                                          AgeMode::kSlow, runs)
                  .young);
      runs.SetYoung(range);
      runs.SetUnknown(range.end, 0b101);
      runs.Finish();
    }
    Expect(in_runs == many + 2);
    RegionCount regions[1];
    RegionsOutput counted(range.begin, kEntriesPerTable<F>, regions, 1);
    Expect(
        !Harvest(tree, walk, range, AgeAction::kTest, AgeMode::kSlow, counted)
             .young);
    Expect(regions[0] == RegionCount{} && counted.counts().examined == many);
    if constexpr (Prunable<F>) {
      MarkParent(tree, walk, range.begin);
      AgeCounts read;
      Expect(!Prune(tree, walk, no_flush, range, Pruning::kExact,
                    AgeAction::kTestAndClear, AgeOutput{.counts = &read})
                  .young);
      Expect(read.examined == many);
      std::uint8_t bytes[1] = {};
      static_assert(HotTables<F>::BytesFor(kEntriesPerTable<F>) == 1);
      HotTables<F> hot(bytes, GfnRange{Gfn{0}, Gfn{kEntriesPerTable<F>}});
      Expect(AgeHotTables(tree, walk, no_flush, hot, AgeOutput{}).complete);
      Expect(hot.Dense() == 0 && hot.range().begin == Gfn{0});
      ProfileRegion in_use[4];
      Profile<F> profile(in_use, 2, hot.range());
      (void)profile.Round(tree, walk, no_flush);
      (void)profile.Round(tree, walk, no_flush);
      Expect(profile.Round(tree, walk, no_flush) == ProfileRound{});
      Expect(profile.size() == 0 && profile.begin() == profile.end() &&
             profile.Frames() == 0);
    }
    std::uint64_t leaves = 0;
    WalkAll(tree, walk, range, [&](const VisitedEntry<F>&) { ++leaves; });
    cursor.MoveTo(range.begin);
    WalkSome(tree, walk, cursor, kNoBudget,
             [&](const VisitedEntry<F>&) { ++leaves; });
    std::uint64_t budget = kNoBudget;
    Expect(tree.Visit(walk, range, budget,
                      [](SpteCell<F>&, typename F::Word, Gfn, Level) {
                        return true;
                      }) == range.end);
    Expect(leaves == 2 * many);
    const FoundEntry<F> first = tree.Lookup(walk, range.begin);
    if constexpr (WriteProtectable<F>) {
      Expect(WriteProtect(tree, walk, no_flush, range, output).examined ==
             many);
      const auto word = ReadOnce(*first.entry, kRelaxed);
      bool logged = false;
      Expect(IsProtected<F>(word) && Protected<F>(word) == word);
      Expect(GrantWrite<F>(*first.entry, word, [&] { logged = true; }));
      Expect(logged);
      Expect(LiftProtection(tree, walk, range) == many - 1);
    } else {
      Expect(FastFault(tree, walk, range.begin, Rights::kWrite) ==
             FastFaultOutcome::kFixed);
    }
    Expect(IsDirty<F>(ReadOnce(*first.entry, kRelaxed)));
    Expect(ClearDirty(tree, walk, no_flush, range, output).young == 1);
    Expect(tree.Promote(walk, range.begin, Level{2}) ==
           StructureOutcome::kDone);
    Expect(tree.Split(walk, range.begin, Level{2}) == StructureOutcome::kDone);
    std::uint64_t frames = 0;
    const auto sink = [&](const TakenLeaf<F>& leaf) {
      frames += leaf.Frames().Frames();
    };
    Expect(tree.Zap(walk, GfnRange{range.begin, range.begin + 3},
                    ZapFlush::kEach, sink) == 3);
    Expect(tree.Promote(walk, range.begin, Level{2}) ==
           StructureOutcome::kUnsuitable);
    Expect(tree.RemoveTables(walk, range, sink) == 1 && frames == many);
    SpteCell<F>* entry = nullptr;
    Expect(nested.Claim(walk, Gfn{3}, Level{1}, entry) == MapOutcome::kDone);
    RecordFrame<F>(arena, *entry, Gfn{30});
    Publish<F>(*entry,
               F::MakeLeaf(Pfn{1}, Level{1}, Rights::kRead) | F::kAccessed);
    if constexpr (Prunable<F>) {
      AgeCounts read;
      Expect(PruneNested(nested, walk, no_flush, range, Pruning::kExact,
                         AgeAction::kTestAndClear, GfnRange{Gfn{0}, Gfn{64}},
                         AgeOutput{.counts = &read}) == AgeResult{});
      Expect(PruneNested(nested, walk, no_flush, GfnRange{Gfn{0}, range.begin},
                         Pruning::kBestEffort, AgeAction::kTestAndClear,
                         GfnRange{Gfn{30}, Gfn{31}}, AgeOutput{.counts = &read})
                 .young);
      Expect(read.examined == 1 && !IsYoung<F>(ReadOnce(*entry, kRelaxed)));
    }
    Expect(nested.Claim(walk, range.begin, Level{2}, entry) ==
           MapOutcome::kDone);
    RecordFrame<F>(arena, *entry, Gfn{0});
    Publish<F>(*entry, F::MakeLeaf(Pfn{many}, Level{2}, Rights::kRead));
    CountedParts<F> parts;
    Expect(nested.Split(walk, range.begin, Level{2}, parts) ==
           StructureOutcome::kDone);
    Expect(parts.added == kEntriesPerTable<F> && parts.removed == 1);
    Expect(nested.Lookup(walk, range.begin + 1).level == Level{1});
  }
  domain.Synchronize();
  Expect(arena.InUse() == 0);
}

// A tree of any scheme that frees its tables by the end.
template <SpteFormat F, class M, class R>
void CheckTreeOver(M& memory, R& reclaimer) {
  NoFlush no_flush;
  {
    PageTable<F, M, R> tree(memory, reclaimer, no_flush, TableKind::kDirect);
    const LocklessWalk<R> walk(reclaimer);
    const std::uint64_t many = FramesAt<F>(Level{2});
    const GfnRange range{Gfn{many}, Gfn{2 * many}};
    const typename F::Word large =
        F::MakeLeaf(Pfn{many}, Level{2}, Rights::kAll) | F::kAccessed;
    Expect(tree.Map(walk, range.begin, Level{2}, large) == MapOutcome::kDone);
    Expect(tree.Split(walk, range.begin, Level{2}) == StructureOutcome::kDone);
    Expect(tree.Promote(walk, range.begin, Level{2}) ==
           StructureOutcome::kDone);
    Expect(tree.Split(walk, range.begin, Level{2}) == StructureOutcome::kDone);
    std::uint64_t frames = 0;
    const auto sink = [&](const TakenLeaf<F>& leaf) {
      frames += leaf.Frames().Frames();
    };
    Expect(tree.Zap(walk, GfnRange{range.begin, range.begin + 3},
                    ZapFlush::kEach, sink) == 3);
    Expect(tree.Map(walk, range.begin, Level{1},
                    F::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll)) ==
           MapOutcome::kDone);
    Expect(Harvest(tree, walk, range, AgeAction::kTestAndClear,
                   AgeMode::kFastOnly, AgeOutput{})
               .young);
    Expect(tree.Lookup(walk, range.begin).level == Level{1});
    Expect(tree.RemoveTables(walk, range, sink) == 1 && frames == many + 1);
  }
  Expect(memory.InUse() == 0);
}

// Tables of others: a root, and below it a leaf table at the first entry of
// each level.
template <CheckedFormat F>
void CheckForeign() {
  // Below the first table of the root.
  constexpr unsigned kBelow = kRootTables<F> - 1;
  alignas(4096) static Table<F> ram[kBelow + F::kLevels];
  for (int level = F::kLevels; level > 1; --level) {
    const auto table = static_cast<unsigned>(F::kLevels - level);
    WriteOnce(ram[table == 0 ? 0 : kBelow + table].entries[0],
              F::MakeInner(Pfn{kBelow + table + 1u}), kRelaxed);
  }
  Table<F>& leaves = ram[kBelow + F::kLevels - 1];
  WriteOnce(
      leaves.entries[3],
      static_cast<typename F::Word>(
          F::MakeLeaf(Pfn{9}, Level{1}, Rights::kReadWrite) | F::kAccessed),
      kRelaxed);
  WriteOnce(ram[0].entries[1], F::MakeInner(Pfn{99}), kRelaxed);

  const RamBlock block{0, sizeof ram, reinterpret_cast<std::byte*>(ram)};
  const ForeignRam memory(&block, 1);
  Expect(memory.Bytes() == sizeof ram);
  Expect(memory.At(sizeof ram, 8) == nullptr);
  const ForeignTree<F, ForeignRam> tree(memory, Pfn{0}, ForeignLimits{});
  Expect(tree.valid());
  const GfnRange all{Gfn{0}, Gfn{kFramesPerTree<F>}};
  unsigned met = 0;
  WalkAll(tree, {}, all, [&](const VisitedEntry<F>& visited) {
    met += visited.covers.begin == Gfn{3} ? 1 : 100;
  });
  Expect(met == 1);
  Expect(tree.report().Of(ForeignError::kOutside) == 1);
  Expect(Harvest(tree, {}, all, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                 AgeOutput{})
             .young);
  Expect(
      !Harvest(tree, {}, all, AgeAction::kTest, AgeMode::kFastOnly, AgeOutput{})
           .young);
  const GuestWalker<F, ForeignRam> walker(memory, Pfn{0}, GuestBits::kMarked,
                                          40);
  const GuestTranslation found = walker.Translate(Gfn{3}, Rights::kRead);
  Expect(static_cast<bool>(found) && found.gfn == Gfn{9} &&
         found.level == Level{1});
}

template <SpteFormat F>
void CheckSchemes() {
  Block<F>& block = g_block<F>;
  StableArena<F> stable(block.tables, block.infos, block.identities, kTables<F>,
                        Pfn{64});
  TypeStable type_stable;
  CheckTreeOver<F>(stable, type_stable);
  int tree;
  const TablePlace place{&tree, Gfn{0}, Level{1}};
  TableIdentity& identity = stable.IdentityOf(block.tables);
  identity.Record(place);
  const TableLife life = identity.LifeIn(place);
  Expect(life != kNoTableLife && identity.StillIn(life));
  TableArena<F> arena(block.tables, block.infos, nullptr, kTables<F>, Pfn{64});
  OneCpu quiescence;
  ExternalReclaimer<OneCpu> external(quiescence);
  CheckTreeOver<F>(arena, external);
}

#if !defined(PTAGE_FEW_FORMATS)
// What differs between formats alone: constants, of which each use compiles.
void CheckOtherFormats() {
  CheckSpte<Arm64FaultingOf16K>();
  CheckSpte<Arm64FaultingOf16KWith48Bits>();
  CheckSpte<Arm64FaultingOf4K>();
  CheckSpte<Arm64FaultingOf4KWith40Bits>();
  CheckSpte<Arm64FaultingOf64K>();
  CheckSpte<Arm64FaultingOf64KWith46Bits>();
  CheckSpte<Arm64Stage2Of16KWith48Bits>();
  CheckSpte<Arm64Stage2Of4K>();
  CheckSpte<Arm64Stage2Of4KWith40Bits>();
  CheckSpte<Arm64Stage2Of64K>();
  CheckSpte<Arm64Stage2Of64KWith46Bits>();
  CheckSpte<Arm64WriteFaultingOf16K>();
  CheckSpte<Arm64WriteFaultingOf4K>();
  CheckSpte<Arm64WriteFaultingOf64K>();
  CheckSpte<Ept5Level>();
  CheckSpte<EptTracked5Level>();
  CheckSpte<Npt>();
  CheckSpte<NptLa57>();
  CheckSpte<RiscvSv39>();
  CheckSpte<RiscvSv39Svade>();
  CheckSpte<RiscvSv39x4Svade>();
  CheckSpte<RiscvSv48>();
  CheckSpte<RiscvSv48Svade>();
  CheckSpte<RiscvSv48x4>();
  CheckSpte<RiscvSv48x4Svade>();
  CheckSpte<RiscvSv57>();
  CheckSpte<RiscvSv57Svade>();
  CheckSpte<RiscvSv57x4>();
  CheckSpte<RiscvSv57x4Svade>();
  CheckSpte<X86_64>();
  CheckSpte<X86_64La57>();
  CheckRmaps<Arm64FaultingOf16K>();
  CheckRmaps<Arm64FaultingOf16KWith48Bits>();
  CheckRmaps<Arm64FaultingOf4K>();
  CheckRmaps<Arm64FaultingOf4KWith40Bits>();
  CheckRmaps<Arm64FaultingOf64K>();
  CheckRmaps<Arm64FaultingOf64KWith46Bits>();
  CheckRmaps<Arm64Stage2Of16KWith48Bits>();
  CheckRmaps<Arm64Stage2Of4K>();
  CheckRmaps<Arm64Stage2Of4KWith40Bits>();
  CheckRmaps<Arm64Stage2Of64K>();
  CheckRmaps<Arm64Stage2Of64KWith46Bits>();
  CheckRmaps<Ept5Level>();
  CheckRmaps<EptTracked5Level>();
  CheckRmaps<Npt>();
  CheckRmaps<NptLa57>();
  CheckRmaps<RiscvSv39>();
  CheckRmaps<RiscvSv39Svade>();
  CheckRmaps<RiscvSv39x4Svade>();
  CheckRmaps<RiscvSv48>();
  CheckRmaps<RiscvSv48Svade>();
  CheckRmaps<RiscvSv48x4>();
  CheckRmaps<RiscvSv48x4Svade>();
  CheckRmaps<RiscvSv57>();
  CheckRmaps<RiscvSv57Svade>();
  CheckRmaps<RiscvSv57x4>();
  CheckRmaps<RiscvSv57x4Svade>();
  CheckRmaps<X86_64>();
  CheckRmaps<X86_64La57>();
  CheckTrees<Arm64FaultingOf16K>();
  CheckTrees<Arm64FaultingOf16KWith48Bits>();
  CheckTrees<Arm64FaultingOf4K>();
  CheckTrees<Arm64FaultingOf4KWith40Bits>();
  CheckTrees<Arm64FaultingOf64K>();
  CheckTrees<Arm64FaultingOf64KWith46Bits>();
  CheckTrees<Arm64Stage2Of16KWith48Bits>();
  CheckTrees<Arm64Stage2Of4K>();
  CheckTrees<Arm64Stage2Of4KWith40Bits>();
  CheckTrees<Arm64Stage2Of64K>();
  CheckTrees<Arm64Stage2Of64KWith46Bits>();
  CheckTrees<Ept5Level>();
  CheckTrees<EptTracked5Level>();
  CheckTrees<Npt>();
  CheckTrees<NptLa57>();
  CheckTrees<RiscvSv39>();
  CheckTrees<RiscvSv39Svade>();
  CheckTrees<RiscvSv39x4Svade>();
  CheckTrees<RiscvSv48>();
  CheckTrees<RiscvSv48Svade>();
  CheckTrees<RiscvSv48x4>();
  CheckTrees<RiscvSv48x4Svade>();
  CheckTrees<RiscvSv57>();
  CheckTrees<RiscvSv57Svade>();
  CheckTrees<RiscvSv57x4>();
  CheckTrees<RiscvSv57x4Svade>();
  CheckTrees<X86_64>();
  CheckTrees<X86_64La57>();
  CheckForeign<RiscvSv39>();
  CheckForeign<RiscvSv48>();
  CheckForeign<RiscvSv57>();
  CheckForeign<X86_64>();
  CheckForeign<X86_64La57>();
  CheckSchemes<X86_64>();
}
#endif

}  // namespace

extern "C" [[noreturn]] void Main() {
  CheckTypes();
  CheckOnce();
  CheckReclaim();
  CheckExternal();
  CheckHistory();
  CheckSpte<Arm64Stage2Of16K>();
  CheckSpte<Ept>();
  CheckSpte<EptTracked>();
  CheckSpte<RiscvSv39x4>();
  CheckRmaps<Arm64Stage2Of16K>();
  CheckRmaps<Ept>();
  CheckRmaps<EptTracked>();
  CheckRmaps<RiscvSv39x4>();
  CheckTrees<Arm64Stage2Of16K>();
  CheckTrees<Ept>();
  CheckTrees<EptTracked>();
  CheckTrees<RiscvSv39x4>();
  CheckForeign<Ept>();
  CheckForeign<RiscvSv39x4>();
  CheckSchemes<Ept>();
  CheckSchemes<RiscvSv39x4>();
  CheckSchemes<EptTracked>();
#if !defined(PTAGE_FEW_FORMATS)
  CheckOtherFormats();
#endif
  Exit(0);
}

// The kernel enters here with an aligned stack and no return address.
#if defined(__aarch64__)
asm(".globl _start\n_start:\n  bl Main\n");
#else
asm(".globl _start\n_start:\n  call Main\n");
#endif
