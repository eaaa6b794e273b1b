# SPDX-License-Identifier: MIT OR Apache-2.0
"""Errors that are planted in the shipped headers, and what must catch each.

A row is (name, search, the property that must be violated, what the header says,
what it says instead). What the header says must occur in it exactly once, so that
a row cannot outlive the line it is about. "DATA RACE" is Relacy's own verdict: two
accesses to a Plain that nothing orders.
"""

# header, or header@searches where it has several: [mutants]
MUTANTS = {
    "lock": [
        (
            "AcquiredRelaxed",
            "Holders<2>",
            "DATA RACE",
            "!TryCmpxchg(held_, 0u, 1u, kAcquire)",
            "!TryCmpxchg(held_, 0u, 1u, kRelaxed)",
        ),
        (
            "ReleasedRelaxed",
            "Holders<2>",
            "DATA RACE",
            "WriteOnce(held_, 0u, kRelease)",
            "WriteOnce(held_, 0u, kRelaxed)",
        ),
        (
            "TakenByAStore",
            "Holders<2>",
            "DATA RACE",
            "  while (ReadOnce(held_, kRelaxed) != 0 ||\n" +
            "         !TryCmpxchg(held_, 0u, 1u, kAcquire)) {\n",
            "  while (ReadOnce(held_, kAcquire) != 0 ||\n" +
            "         (WriteOnce(held_, 1u, kRelaxed), false)) {\n",
        ),
    ],
    "spte": [
        (
            "AgedRelaxed",
            "ReusedEntry",
            "no page is charged with another's access",
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);",
            "return AgeSeen<F>(entry, ReadOnce(entry, kRelaxed), action, belongs);",
        ),
        (
            "EmptyReadRelaxed",
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);",
            "return AgeSeen<F>(entry, ReadOnce(entry, kRelaxed), action, belongs);",
        ),
        (
            "RecordReadBeforeTheEntry",
            "ReusedEntry",
            "no page is charged with another's access",
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action, belongs);",
            "const bool mine = belongs();\n" +
            "return AgeSeen<F>(entry, ReadOnce(entry, kAcquire), action,\n" +
            "                  [mine] { return mine; });",
        ),
        (
            "RecordNotRead",
            "ReusedEntry",
            "no page is charged with another's access",
            "if (!belongs()) return SpteAge::kAbsent;",
            "",
        ),
        (
            "ClearedByAStore",
            "WalkedEntry",
            "no write is lost",
            "return TryCmpxchg(entry, seen,\n" +
            "                    static_cast<typename F::Word>(seen & ~F::kAccessed),\n" +
            "                    kRelaxed)",
            "return (WriteOnce(entry, seen & ~F::kAccessed, kRelaxed), true)",
        ),
        (
            "DirtyClearedToo",
            "WalkedEntry",
            "no write is lost",
            "static_cast<typename F::Word>(seen & ~F::kAccessed)",
            "static_cast<typename F::Word>(seen & ~(F::kAccessed | F::kDirty))",
        ),
        (
            "InstalledByAStore",
            "TwoDirectFaults",
            "exactly one fault wins",
            "return TryCmpxchg(entry, F::kEmpty, word, kRelease);",
            "return (WriteOnce(entry, word, kRelease), true);",
        ),
        (
            "InstalledRelaxed",
            "TwoDirectFaults",
            "DATA RACE",
            "return TryCmpxchg(entry, F::kEmpty, word, kRelease);",
            "return TryCmpxchg(entry, F::kEmpty, word, kRelaxed);",
        ),
        (
            "FrozenByAStore",
            "TwoZappers",
            "each mapping goes to exactly one",
            "return TryCmpxchg(entry, seen, F::kFrozen, kAcquire);",
            "return ReadOnce(entry, kAcquire) == seen &&\n" +
            "       (WriteOnce(entry, F::kFrozen, kRelaxed), true);",
        ),
        (
            "FrozenRelaxed",
            "OwnersInTurn",
            "DATA RACE",
            "return TryCmpxchg(entry, seen, F::kFrozen, kAcquire);",
            "return TryCmpxchg(entry, seen, F::kFrozen, kRelaxed);",
        ),
        (
            "RestoredRelaxed",
            "OwnersInTurn",
            "DATA RACE",
            "WriteOnce(entry, taken, kRelease);",
            "WriteOnce(entry, taken, kRelaxed);",
        ),
        (
            "PublishedRelaxed",
            "ReusedEntry",
            "no page is charged with another's access",
            "WriteOnce(entry, word, kRelease);",
            "WriteOnce(entry, word, kRelaxed);",
        ),
        (
            "EmptiedRelaxed",
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
            "WriteOnce(entry, F::kEmpty, kRelease);",
            "WriteOnce(entry, F::kEmpty, kRelaxed);",
        ),
        (
            "EmptiedBeforeTheSink",
            "EmptyAfterRecord",
            "nobody reads empty before the access is on record",
            "  sink(seen);\n",
            "  Empty<F>(entry);\n  sink(seen);\n",
        ),
        (
            "FlushedBeforeItIsFrozen",
            "CachedLeaf",
            "no CPU uses a leaf that was handed on",
            "  if (!Freeze<F>(entry, seen)) return false;\n  flush();\n",
            "  flush();\n  if (!Freeze<F>(entry, seen)) return false;\n",
        ),
        (
            "HandedOnBeforeTheFlush",
            "CachedLeaf",
            "no CPU uses a leaf that was handed on",
            "  flush();\n  sink(seen);\n",
            "  sink(seen);\n  flush();\n",
        ),
        (
            "ZappedRelaxed",
            "TwoZappers",
            "who finds nothing to zap sees what was zapped",
            "const typename F::Word seen = ReadOnce(entry, kAcquire);",
            "const typename F::Word seen = ReadOnce(entry, kRelaxed);",
        ),
    ],
    "reclaim/anonymous_epoch": [
        (
            "AnnouncedRelaxed",
            "OneWalk",
            "DATA RACE",
            "if (TryCmpxchg(place, kIdle, mine, kAcquire))",
            "if (TryCmpxchg(place, kIdle, mine, kRelaxed))",
        ),
        (
            "AnnouncedByAStore",
            "OnePlace",
            "DATA RACE",
            "if (TryCmpxchg(place, kIdle, mine, kAcquire))",
            "WriteOnce(place, mine, kRelaxed);\n    if (true)",
        ),
        (
            "LeftRelaxed",
            "OneWalk",
            "DATA RACE",
            "WriteOnce(*section.place_, kIdle, kRelease);",
            "WriteOnce(*section.place_, kIdle, kRelaxed);",
        ),
        (
            "ScannedWithoutRelease",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcquire);",
        ),
        (
            "ScannedWithoutAcquire",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "FetchAdd(place.announced, std::uint64_t{0}, kRelease);",
        ),
        (
            "ScannedByALoad",
            "OneWalk",
            "DATA RACE",
            "FetchAdd(place.announced, std::uint64_t{0}, kAcqRel);",
            "ReadOnce(place.announced, kAcquire);",
        ),
        (
            "EpochReadRelaxed",
            "PlaceReused",
            "DATA RACE",
            "const std::uint64_t mine = ReadOnce(epoch_, kAcquire) * 2 + 1;",
            "const std::uint64_t mine = ReadOnce(epoch_, kRelaxed) * 2 + 1;",
        ),
        (
            "EpochWrittenRelaxed",
            "PlaceReused",
            "DATA RACE",
            "WriteOnce(epoch_, epoch + 1, kRelease);",
            "WriteOnce(epoch_, epoch + 1, kRelaxed);",
        ),
        (
            "WalksIgnored",
            "OneWalk",
            "DATA RACE",
            "if (announced != kIdle && announced / 2 != epoch) return nullptr;",
            "static_cast<void>(announced);",
        ),
        (
            "FreedAnEpochEarly",
            "OneWalk",
            "DATA RACE",
            "limbo_[(epoch - 1) % 3]",
            "limbo_[epoch % 3]",
        ),
    ],
    "rmap": [
        (
            "EntryReadRelaxed",
            "SingleRemoved<Single, AgeMode::kFastOnly>",
            "no page is charged with another's access",
            "const typename F::Word seen = ReadOnce(entry, kAcquire);",
            "const typename F::Word seen = ReadOnce(entry, kRelaxed);",
        ),
        (
            "IdentityNotAsked",
            "SingleRemoved<Single, AgeMode::kFastOnly>",
            "no page is charged with another's access",
            "    return RecordsFrame<F>(memory, entry, frame.gfn, frame.level);\n",
            "    return true;\n",
        ),
    ],
    "rmap/single_entry_lockless": [
        (
            "HeadReadRelaxed",
            "SingleAdded<Single, RandomInterleavings(20'000)>",
            "DATA RACE",
            "const internal::RmapWord seen(ReadOnce(head.word, kAcquire));",
            "const internal::RmapWord seen(ReadOnce(head.word, kRelaxed));",
        ),
        (
            "AddedRelaxed",
            "SingleAdded<Single, RandomInterleavings(20'000)>",
            "DATA RACE",
            "WriteOnce(head.word, word, kRelease);",
            "WriteOnce(head.word, word, kRelaxed);",
        ),
        (
            "RemovedRelaxed",
            "OtherTableLeft<Single>",
            "DATA RACE",
            "WriteOnce(head.word, without, kRelease);",
            "WriteOnce(head.word, without, kRelaxed);",
        ),
        (
            "ListReadBeforeTheLock",
            "ManyAndBack<Single, AgeMode::kSlow>",
            "an entry that stayed in its rmap is examined",
            "  ScopedLock<L> hold(mmu_lock_);\n" +
            "  AgeResult result;\n" +
            "  list_.ForEach(ReadOnce(head.word, kRelaxed),",
            "  const std::uintptr_t word = ReadOnce(head.word, kAcquire);\n" +
            "  ScopedLock<L> hold(mmu_lock_);\n" +
            "  AgeResult result;\n" +
            "  list_.ForEach(word,",
        ),
        (
            "ListReadWithoutTheLock",
            "ManyAndBack<Single, AgeMode::kSlow>",
            "DATA RACE",
            "  ScopedLock<L> hold(mmu_lock_);\n",
            "",
        ),
    ],
    "rmap/head_lock": [
        (
            "LockedRelaxed",
            "TwoWriters<Bit>",
            "DATA RACE",
            "TryCmpxchg(head.word, word, word | RmapWord::kLocked, kAcquire)",
            "TryCmpxchg(head.word, word, word | RmapWord::kLocked, kRelaxed)",
        ),
        (
            "UnlockedRelaxed",
            "TwoWriters<Bit>",
            "DATA RACE",
            "WriteOnce(head.word, word, kRelease);",
            "WriteOnce(head.word, word, kRelaxed);",
        ),
    ],
    "rmap/bit_locked": [
        (
            "HeadReadRelaxed",
            "SingleAdded<Bit, RandomInterleavings(20'000)>",
            "DATA RACE",
            "const internal::RmapWord seen(ReadOnce(head.word, kAcquire));",
            "const internal::RmapWord seen(ReadOnce(head.word, kRelaxed));",
        ),
        (
            "ListReadBeforeTheBit",
            "ManyAndBack<Bit, AgeMode::kSlow>",
            "an entry is in its rmap until it is removed",
            "  const std::uintptr_t word = internal::LockHead(head);\n  AgeResult result;\n",
            "  const std::uintptr_t word =\n" +
            "      ReadOnce(head.word, kAcquire) & ~internal::RmapWord::kLocked;\n" +
            "  internal::LockHead(head);\n  AgeResult result;\n",
        ),
    ],
    "page_table": [
        (
            "EntriesReadRelaxed",
            "BuilderAndReader",
            "nobody finds a leaf that nobody mapped",
            "return ReadOnce(entry, kAcquire);",
            "return ReadOnce(entry, kRelaxed);",
        ),
        (
            "EmptyEntriesLeftOpen",
            "MapAgainstRemoval",
            "each mapping goes to exactly one",
            "    const Word taken = Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
            "    if (ReadEntry(entry) == F::kEmpty) continue;\n" +
            "    const Word taken = Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
        ),
        (
            "TableClosedWithoutOwning",
            "ZapAgainst<Rival::kRemoval>",
            "each mapping goes to exactly one",
            "    const Word taken = Take(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
            "    const Word taken = ReadSettled(entry);\n" +
            "    if (!F::IsPresent(taken)) continue;\n",
        ),
        (
            "TablesFreedAtOnce",
            "RemovedUnderAWalk",
            "nobody finds a leaf that nobody mapped",
            "{ reclaimer_.Retire(retired); }",
            "{ retired.free(retired, retired.owner); }",
        ),
        (
            "ParentNotFrozen",
            "CachedInner",
            "no table is used after it was freed",
            "    inner = Take(entry);\n",
            "",
        ),
        (
            "ZapPassesFrozenBy",
            "ZapAgainstGivingBack",
            "what was zapped does not come back",
            "if (IsFrozen<F>(seen)) return false;",
            "if (IsFrozen<F>(seen)) return true;",
        ),
        (
            "TableBuiltOverALeaf",
            "SmallAgainstLarge",
            "exactly one fault wins",
            "  if (!Freeze<F>(entry, F::kEmpty)) {\n" +
            "    memory_.Free(table);\n" +
            "    return MapOutcome::kRetry;\n" +
            "  }\n",
            "",
        ),
        (
            "TwoTablesBuilt",
            "TwoBuilders",
            "each mapping goes to exactly one",
            "  if (ReadEntry(entry) != F::kEmpty) return MapOutcome::kRetry;\n",
            "  const Word found = ReadEntry(entry);\n" +
            "  if (found != F::kEmpty) WriteOnce(entry, F::kEmpty, kRelaxed);\n",
        ),
        (
            "SplitWithoutOwning",
            "WalkerAgainstChange<Change::kSplit>",
            "no write is lost",
            "  const Word leaf = Take(*entry);\n",
            "  const Word leaf = ReadSettled(*entry);\n",
        ),
        (
            "SplitDropsBits",
            "AgerAgainstChange<Change::kSplit>",
            "no access is lost",
            "F::SplitLeaf(leaf, level, i), kRelaxed);",
            "F::SplitLeaf(leaf & ~F::kAccessed, level, i), kRelaxed);",
        ),
        (
            "PromotionDropsBits",
            "WalkerAgainstChange<Change::kPromote>",
            "no access is lost",
            "Publish<F>(*entry, large | gathered);",
            "Publish<F>(*entry, large);",
        ),
        (
            "PromotionWithoutOwning",
            "WalkerAgainstChange<Change::kPromote>",
            "no write is lost",
            "    const Word taken = Take(table.entries[i]);\n",
            "    const Word taken = ReadSettled(table.entries[i]);\n",
        ),
        (
            "GivenBackWithoutBits",
            "GivenBack",
            "no access is lost",
            "if ((accessed[i / 64] >> i % 64 & 1) != 0) taken |= F::kAccessed;",
            "",
        ),
    ],
    "sim/vcpu_set": [
        (
            "ResumedRelaxed",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "FetchAdd(word_, kRunning, kAcquire);",
            "FetchAdd(word_, kRunning, kRelaxed);",
        ),
        (
            "ResumedByAStore",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "const std::uint64_t before = FetchAdd(word_, kRunning, kAcquire);",
            "const std::uint64_t before = ReadOnce(word_, kAcquire);\n" +
            "  WriteOnce(word_, before + kRunning, kRelaxed);",
        ),
        (
            "PausedRelaxed",
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
            "FetchAdd(word_, ~kRunning + 1, kRelease);",
            "FetchAdd(word_, ~kRunning + 1, kRelaxed);",
        ),
        (
            "PausedByAStore",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "const std::uint64_t before = FetchAdd(word_, ~kRunning + 1, kRelease);",
            "const std::uint64_t before = ReadOnce(word_, kRelaxed);\n" +
            "  WriteOnce(word_, before - kRunning, kRelease);",
        ),
        (
            "PositionAfterPause",
            "OutAndBack<Asked::kPosition>",
            "a position is after each use of what was flushed",
            "  WriteOnce(position_, position, kRelaxed);\n" +
            "  // Were this a store of the word",
            "  FetchAdd(word_, ~kRunning + 1, kRelease);\n" +
            "  WriteOnce(position_, position, kRelaxed);\n" +
            "  return;\n" +
            "  // Were this a store of the word",
        ),
        (
            "RequestReadRelaxed",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "return ReadOnce(word_, kAcquire);",
            "return ReadOnce(word_, kRelaxed);",
        ),
        (
            "RequestedRelaxed",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "FetchAdd(word_, kRequest, kRelease);",
            "FetchAdd(word_, kRequest, kRelaxed);",
        ),
        (
            "PauseReadRelaxed",
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
            "std::uint64_t word = ReadOnce(word_, kAcquire);",
            "std::uint64_t word = ReadOnce(word_, kRelaxed);",
        ),
        (
            "PauseAwaitedRelaxed",
            "OutAndBack<Asked::kData>",
            "what was written is visible after the flush",
            "    word = ReadOnce(word_, kAcquire);\n" +
            "  }",
            "    word = ReadOnce(word_, kRelaxed);\n" +
            "  }",
        ),
        (
            "AnswerReadRelaxed",
            "AtWork<Asked::kData>",
            "what was written is visible after the flush",
            "ReadOnce(acknowledged_, kAcquire) < wanted",
            "ReadOnce(acknowledged_, kRelaxed) < wanted",
        ),
        (
            "AnsweredRelaxed",
            "AtWork<Asked::kData>",
            "what was written is visible after the flush",
            "WriteOnce(acknowledged_, Requests(word), kRelease);",
            "WriteOnce(acknowledged_, Requests(word), kRelaxed);",
        ),
        (
            "AnswerNotAwaited",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "while (Running(word) && ReadOnce(acknowledged_, kAcquire) < wanted) {",
            "while (false) {",
        ),
    ],
    "sim/vcpu": [
        (
            "WalkedRelaxed",
            "TableBuilt",
            "a frame leads to its page",
            "const Word seen = ReadOnce(entry, kAcquire);",
            "const Word seen = ReadOnce(entry, kRelaxed);",
        ),
        (
            "MarkedByAStore",
            "MarkAgainstFreeze",
            "no write is lost",
            "return TryCmpxchg(entry, seen, marked, kRelaxed);",
            "return (WriteOnce(entry, marked, kRelaxed), true);",
        ),
        (
            "CacheKept",
            "AtWork<Asked::kNoUse>",
            "no page is used after its zap",
            "    cache_.Flush();\n",
            "",
        ),
        (
            "RequestPassedOver",
            "OutAndBack<Asked::kNoUse>",
            "no page is used after its zap",
            "  Attend(line_.Resume());\n",
            "  known_ = line_.Resume();\n",
        ),
    ],
    "rmap/lockless_list": [
        (
            "SlotReadRelaxed",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "ReadOnce(slots[i], kAcquire);",
            "ReadOnce(slots[i], kRelaxed);",
        ),
        (
            "AddedRelaxed",
            "ScanAgainst<MovesAndRefills, 2>",
            "DATA RACE",
            "WriteOnce(SlotsOf(word)[Here(counts)], &entry, kRelease);",
            "WriteOnce(SlotsOf(word)[Here(counts)], &entry, kRelaxed);",
        ),
        (
            "MovedRelaxed",
            "TwoListWriters",
            "DATA RACE",
            "WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelease);",
            "WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelaxed);",
        ),
        (
            "ClearedRelaxed",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "WriteOnce(top, nullptr, kRelease);",
            "WriteOnce(top, nullptr, kRelaxed);",
        ),
        (
            "ClearedBeforeItIsMoved",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "    WriteOnce(*hole, ReadOnce(top, kRelaxed), kRelease);\n",
            "    Entry* const moved = ReadOnce(top, kRelaxed);\n" +
            "    WriteOnce(top, nullptr, kRelease);\n" +
            "    WriteOnce(*hole, moved, kRelease);\n",
        ),
        (
            "NotMoved",
            "ScanAgainst<MovesAndRefills, 2>",
            "the rmap holds what was added",
            "  if (hole != &top) {\n",
            "  if (false) {\n",
        ),
        (
            "ScannedUpwards",
            "ScanAgainst<MovesWithinAChunk, 3>",
            "an entry that stays is visited",
            "  for (unsigned i = kSlots; i-- > 0;) {\n" +
            "    ++read;",
            "  for (unsigned i = 0; i < kSlots; ++i) {\n" +
            "    ++read;",
        ),
        (
            "OldestChunkFirst",
            "ScanAgainst<MovesAndRefills, 2>",
            "an entry that stays is visited",
            "  for (; LeadsToLater(word); word = LaterOf(word).next.Get()) {\n" +
            "    if (!ScanSlots(LaterOf(word).slots, read, visit)) return read;\n" +
            "  }\n" +
            "  ScanSlots(FirstOf(word).slots, read, visit);\n",
            "  std::uintptr_t oldest = word;\n" +
            "  while (LeadsToLater(oldest)) oldest = LaterOf(oldest).next.Get();\n" +
            "  ScanSlots(FirstOf(oldest).slots, read, visit);\n" +
            "  for (; LeadsToLater(word); word = LaterOf(word).next.Get()) {\n" +
            "    if (!ScanSlots(LaterOf(word).slots, read, visit)) return read;\n" +
            "  }\n",
        ),
        (
            "RetiredChunkIsCleared",
            "ScanAgainst<SingleAndBack, 2>",
            "an entry that stays is visited",
            "    return Change{.word = RmapWord::ForSingle(ReadOnce(other, kRelaxed)),\n",
            "    Entry* const left = ReadOnce(other, kRelaxed);\n" +
            "    WriteOnce(first.slots[0], nullptr, kRelease);\n" +
            "    WriteOnce(first.slots[1], nullptr, kRelease);\n" +
            "    return Change{.word = RmapWord::ForSingle(left),\n",
        ),
        (
            "CountForgotten",
            "ScanAgainst<MovesAndRefills, 2>",
            "the rmap holds what was added",
            "  CountsOf(word).Set(counts - 1);\n",
            "",
        ),
    ],
    # By the searches of the list.
    "rmap/lockless@lockless_list": [
        (
            "PublishedRelaxed",
            "ScanAgainst<Unlinks, 2>",
            "an entry that stays is visited",
            "      WriteOnce(head.word, word, kRelease);",
            "      WriteOnce(head.word, word, kRelaxed);",
        ),
        (
            "RetiredBeforeItIsUnlinked",
            "ChunkReused",
            "no scan leaves its list",
            "  Publish(head, change.word);\n" +
            "  // Only now no scan can begin that reaches the chunk.\n" +
            "  if (change.retired_first != nullptr) pool_.Retire(change.retired_first);\n",
            "  if (change.retired_first != nullptr) pool_.Retire(change.retired_first);\n" +
            "  Publish(head, change.word);\n",
        ),
    ],
    "rmap/lockless": [
        (
            "HeadReadRelaxed",
            "SingleAdded<Free, RandomInterleavings(20'000)>",
            "DATA RACE",
            "const std::uintptr_t word = ReadOnce(head.word, kAcquire);",
            "const std::uintptr_t word = ReadOnce(head.word, kRelaxed);",
        ),
    ],
    "rmap/grace_pool": [
        (
            "FreedAtOnce",
            "ChunkReused",
            "no scan leaves its list",
            "    (filling_.*list).Push(chunk);\n",
            "    if constexpr (requires { free_firsts_.Push(chunk); }) {\n" +
            "      free_firsts_.Push(chunk);\n" +
            "      --stats_.in_use;\n" +
            "      return;\n" +
            "    }\n",
        ),
        (
            "AddedToTheBatchThatWaits",
            "SecondBatchReused",
            "DATA RACE",
            "    (filling_.*list).Push(chunk);\n" +
            "    poll = ++filling_.count % kPollEvery == 0;\n",
            "    Batch& batch = grace_ ? waiting_ : filling_;\n" +
            "    (batch.*list).Push(chunk);\n" +
            "    poll = ++batch.count % kPollEvery == 0;\n",
        ),
    ],
}
