# SPDX-License-Identifier: MIT OR Apache-2.0
"""Lines broken on purpose, contract by contract, and the test that then fails.

A row is (name, contract of the design, test, test case, header, what the header
says, what it says instead). What the header says must occur in it exactly once.
test/relacy/mutants.bzl does the same for orders between threads.
"""

load("//tools:ptage.bzl", "COPTS")

_ROWS = [
    (
        "AdditionInTwoSteps",
        1,
        "once_test",
        "NoAdditionIsLost",
        "once/builtin",
        "return __atomic_fetch_add(cell.Raw(), n, kOrder);",
        "const T before = ReadOnce(cell, kRelaxed);\n" +
        "WriteOnce(cell, static_cast<T>(before + n), kRelaxed);\n" +
        "return before;",
    ),
    (
        "CompareWithoutComparing",
        1,
        "once_test",
        "ACompareAndSwapThatFailsLeavesTheWord",
        "once/builtin",
        "return __atomic_compare_exchange_n(cell.Raw(), &seen, desired,\n" +
        "                                     /*weak=*/false, kOrder, __ATOMIC_RELAXED);",
        "return __atomic_exchange_n(cell.Raw(), desired, kOrder) == seen;",
    ),
    (
        "BlindClear",
        2,
        "spte_test",
        "ALostRaceAnswersYoungAndLeavesTheOthersValue",
        "spte",
        "return TryCmpxchg(entry, seen, static_cast<typename F::Word>(seen & ~kBit),\n" +
        "                    kRelaxed)",
        "return (WriteOnce(entry, seen & ~kBit, kRelaxed), true)",
    ),
    (
        "ALostRaceIsCold",
        2,
        "spte_test",
        "ALostRaceAnswersYoungAndLeavesTheOthersValue",
        "spte",
        ": SpteAge::kLostRace;",
        ": SpteAge::kCold;",
    ),
    (
        "AColdEntryIsWritten",
        2,
        "spte_test",
        "WhatIsNotClearedIsNotWritten",
        "spte",
        "if ((seen & kBit) == 0) return SpteAge::kCold;",
        "",
    ),
    (
        "FrozenIsColdToSlow",
        2,
        "spte_test",
        "FrozenIsUnknownToFastOnlyAndYoungToSlow",
        "spte",
        "age == SpteAge::kLostRace || (frozen && slow),",
        "age == SpteAge::kLostRace,",
    ),
    (
        "EmptiedBeforeItIsHandedOver",
        2,
        "spte_test",
        "ZapFreezesFlushesHandsOverAndThenEmpties",
        "spte",
        "  sink(seen);\n",
        "  Empty<F>(entry);\n  sink(seen);\n",
    ),
    (
        "ASplitLosesDirty",
        2,
        "page_table_structure_test",
        "ASplitCopiesAccessedAndDirtyToAll",
        "page_table/resize",
        "const Word part = F::SplitLeaf(leaf, level, i);",
        "const Word part = F::SplitLeaf(leaf & ~F::kDirty, level, i);",
    ),
    (
        "AHugeLeafIsClearedForAPart",
        2,
        "harvest_test",
        "ALeafThatReachesBeyondTheRangeIsTestedNeverCleared",
        "harvest",
        "whole ? action_ : AgeAction::kTest",
        "whole || true ? action_ : AgeAction::kTest",
    ),
    (
        "TheWrongBit",
        2,
        "spte/ept_test",
        "AccessedIsBit8AndDirtyIsBit9",
        "spte/ept",
        "kAccessed = Word{1} << 8;",
        "kAccessed = Word{1} << 10;",
    ),
    (
        "IdentityIsNotAsked",
        3,
        "rmap_test",
        "AReusedEntryKeepsItsBit",
        "rmap",
        "return RecordsFrame<F>(question.memory, entry, question.frame.gfn,\n" +
        "                           question.frame.level);",
        "return true;",
    ),
    (
        "TheHoleIsNotFilled",
        3,
        "rmap_test",
        "HoldsWhatWasAddedAndNotRemoved",
        "rmap/chunk_list",
        "chunk->entries[i].Set(newest->entries[left].Get());",
        "",
    ),
    (
        "FastOnlyWaits",
        3,
        "rmap_test",
        "FastOnlyLeavesAListUnknownAndUntouched",
        "rmap/single_entry_lockless",
        "  if (mode == AgeMode::kFastOnly) {\n",
        "  if (false) {\n",
    ),
    (
        "RemovedBeforeItIsHandedOver",
        3,
        "shadow_mmu_test",
        "TheRmapAnswersUntilTheBitsAreHandedOver",
        "shadow_mmu",
        "  // Frozen: its bits go to the caller before the rmap stops answering for it.\n",
        "  if (rmaps_.Remove(head, entry)) {\n" +
        "    sink(ZappedLeaf{.gfn = gfn, .level = level, .pfn = F::FrameOf(taken),\n" +
        "                    .accessed = IsYoung<F>(taken), .dirty = IsDirty<F>(taken)});\n" +
        "    WriteOnce(live_, live() - 1, kRelaxed);\n" +
        "    return;\n" +
        "  }\n",
    ),
    (
        "FreedAnEpochEarly",
        4,
        "reclaim/anonymous_epoch_test",
        "NothingIsFreedUnderAWalkInWhicheverEpochItBegan",
        "reclaim/limbo",
        "if (oldest_walk <= closed_) return;",
        "if (oldest_walk < closed_) return;",
    ),
    (
        "ANestedWalkSharesAPlace",
        4,
        "reclaim/epoch_test",
        "WalksOfAThreadNestAndEndInAnyOrder",
        "reclaim/epoch",
        "    place = Another(place);\n",
        "",
    ),
    (
        "TheLimitIsNotSaid",
        4,
        "reclaim/epoch_test",
        "AtTheLimitRetireTakesTheObjectAndSaysSo",
        "reclaim/epoch",
        "? RetireOutcome::kAtLimit",
        "? RetireOutcome::kTaken",
    ),
    (
        "AThreadsEndLeavesItsWalks",
        4,
        "reclaim/epoch_thread_test",
        "AWalkEndsWithItsThreadAndIsCounted",
        "reclaim/epoch",
        "      WriteOnce(place.announced, kIdle, kRelease);\n    }\n",
        "    }\n",
    ),
    (
        "AThreadsEndKeepsItsPlace",
        4,
        "reclaim/epoch_thread_test",
        "AThreadThatEndsLeavesItsPlace",
        "reclaim/epoch",
        "    }\n    GiveBack(place);\n",
        "    }\n",
    ),
    (
        "EmptyEntriesAreNotClosed",
        4,
        "page_table_structure_test",
        "ATableIsFlushedClosedAndThenLetGo",
        "page_table/remove",
        "    const typename F::Word taken = tree.Take(entry);\n" +
        "    if (!F::IsPresent(taken)) continue;\n",
        "    if (tree.ReadEntry(entry) == F::kEmpty) continue;\n" +
        "    const typename F::Word taken = tree.Take(entry);\n" +
        "    if (!F::IsPresent(taken)) continue;\n",
    ),
    (
        "ATableIsFreedAtOnce",
        4,
        "page_table_structure_test",
        "ARemovedTableIsFreedWhenItsWalksHaveEnded",
        "page_table/tables",
        "{ reclaimer_.Retire(retired); }",
        "{ retired.free(retired, retired.owner); }",
    ),
    (
        "UnknownIsNotTold",
        5,
        "harvest_test",
        "AFrozenInnerEntryAnswersForEveryFrameUnderIt",
        "harvest",
        "if (!answer.complete) output_.SetUnknown(range_.Clip(covers));",
        "",
    ),
    (
        "ClearedButNotReported",
        5,
        "harvest_test",
        "WhatWasClearedIsInTheOutputAtEachStop",
        "harvest",
        "if (young != 0) output_.SetYoung(first, young);",
        "if (young != 0 && budget_ != 0) output_.SetYoung(first, young);",
    ),
    (
        "AHoleIsPresent",
        5,
        "harvest_model_test",
        "HolesInTablesAreAnsweredEntryByEntry",
        "harvest",
        "bool admitted = seen.all;",
        "bool admitted = true;",
    ),
    (
        "TheOthersBlocksAreAnswered",
        5,
        "harvest_model_test",
        "ScatteredTablesAreAnsweredEntryByEntry",
        "harvest",
        "seen[(turn - 1) % 2]",
        "seen[turn % 2]",
    ),
    (
        "CutInsideATable",
        5,
        "harvest/split_test",
        "NoTwoPiecesWriteToOneLine",
        "harvest/split",
        "        pieces[made++] = GfnRange{begin, gfn};\n" +
        "        begin = gfn;\n",
        "        pieces[made++] = GfnRange{begin, gfn + 1};\n" +
        "        begin = gfn + 1;\n",
    ),
    (
        "MoreBytesThanTheBlockHas",
        5,
        "memory/foreign_ram_test",
        "WhatIsNotWhollyInsideIsRefused",
        "memory/foreign_ram",
        "bytes <= block.bytes - offset",
        "bytes != 0",
    ),
    (
        "OneTableMoreThanAllowed",
        5,
        "foreign_test",
        "SharedTablesDoNotMakeAWalkEndless",
        "foreign",
        "tables_left_(limits.most_tables)",
        "tables_left_(limits.most_tables + 1)",
    ),
    (
        "ACycleIsFollowed",
        5,
        "foreign_test",
        "RandomImagesAreWalkedAsTheReferenceWalksThem",
        "foreign",
        "if (path_[above - 1] == pfn) {",
        "if (false) {",
    ),
    (
        "ReservedBitsOfInnerEntriesAreIgnored",
        5,
        "foreign_test",
        "RandomImagesAreWalkedAsTheReferenceWalksThem",
        "foreign",
        "if ((inner & ReservedIn(level, EntryKind::kTable)) != 0) {",
        "if (false) {",
    ),
    (
        "AMalformedLeafIsAged",
        5,
        "foreign_test",
        "AMalformedEntryOfAFullTableIsPassedOver",
        "harvest",
        "if constexpr (!kTrusted) LeaveMalformed(entries, count, first, seen);",
        "",
    ),
    (
        "AForeignSentinelIsFrozen",
        5,
        "foreign_test",
        "TheSentinelOfAFrozenEntryMeansNothing",
        "foreign",
        "return word == F::kFrozen ? Word{F::kEmpty} : word;",
        "return word;",
    ),
    (
        "AParentIsClearedForAPart",
        5,
        "prune_test",
        "AParentOfWhichTheRangeHasAPartIsNotCleared",
        "prune",
        "if (!range_.Contains(GfnRange{first, first + kPerTable})) continue;",
        "",
    ),
    (
        "AFaultLeavesItsParentClear",
        5,
        "tdp_mmu_test",
        "AFaultUnderAClearParentIsFoundWhereColdOnesAreSkipped",
        "tdp_mmu",
        "if (level == Level{1}) MarkParent(tree_, walk, gfn);",
        "",
    ),
    (
        "APassDoesNotFlush",
        5,
        "page_table_cold_test",
        "ATableInUseStaysWhateverIsCached",
        "page_table/cold",
        "  if (pass.young != 0) flusher.Flush(range);\n",
        "",
    ),
    (
        "NoBudget",
        5,
        "walk_test",
        "ABudgetBoundsTheEntriesThatAreRead",
        "page_table/tables",
        "if (budget == 0) return from;",
        "",
    ),
    (
        "TablesGivenBackOpen",
        4,
        "reclaim/type_stable_test",
        "EveryEntryOfAFreeTableIsFrozen",
        "page_table/remove",
        "    CloseTable(tree, *tree.root(), Level{F::kLevels}, Gfn{0}, drop, closed);\n",
        "    FreeTables(tree, *tree.root(), Level{F::kLevels});\n",
    ),
    (
        "AnotherPlacesEntriesAreBelieved",
        4,
        "reclaim/type_stable_test",
        "AStaleWalkFindsAnotherPlacesEntriesFrozen",
        "page_table/tables",
        "  return identity.StillIn(life_) ? seen : F::kFrozen;\n",
        "  return seen;\n",
    ),
    (
        "AnEndedInvalidationIsForgotten",
        6,
        "invalidate_test",
        "AnEndedOneStopsFaultsThatBeganBefore",
        "invalidate",
        " ||\n         ReadOnce(sequence_, kRelaxed) != snapshot;",
        " && snapshot == snapshot;",
    ),
    (
        "AnInvalidationDoesNotFlush",
        6,
        "vm_test",
        "AnInvalidationFlushesBothMmusBeforeItReturns",
        "vm",
        "if (zapped != 0) flusher_.Flush(range);",
        "",
    ),
    (
        "TestedAndThenCleared",
        6,
        "notifier_test",
        "TestAndClearIsOneCallToEach",
        "notifier",
        "    result |= notifier.Age(range, action, mode, output);",
        "    (void)notifier.Age(range, AgeAction::kTest, mode, output);\n" +
        "    result |= notifier.Age(range, action, mode, output);",
    ),
    (
        "FastWithoutHavingSeen",
        6,
        "tdp_mmu_test",
        "AFrozenEntryIsUnknownToFastOnlyAndSlowlyYoung",
        "tdp_mmu",
        "result.was_fast = counts.young != 0;",
        "result.was_fast = result.young;",
    ),
    (
        "CompleteIfOnePartIs",
        6,
        "types_test",
        "PartsAreCombinedAsTheDesignSays",
        "types",
        ".complete = a.complete && b.complete};",
        ".complete = a.complete || b.complete};",
    ),
    (
        "ABlindClearLosesAWrite",
        2,
        "page_table_history_test",
        "WhatAHarvestClearsIsInItsOutput",
        "spte",
        "return TryCmpxchg(entry, seen, static_cast<typename F::Word>(seen & ~kBit),\n" +
        "                    kRelaxed)",
        "return (WriteOnce(entry, seen & ~kBit, kRelaxed), true)",
    ),
    (
        "EmptyIsReadBeforeTheRecord",
        2,
        "page_table_history_test",
        "AZappedLeafIsThereUntilItIsOnRecord",
        "spte",
        "  sink(seen);\n",
        "  Empty<F>(entry);\n  sink(seen);\n",
    ),
    (
        "HandedOnBeforeTheFlush",
        2,
        "page_table_history_test",
        "AZappedLeafIsThereUntilItIsOnRecord",
        "spte",
        "  flush();\n  sink(seen);\n",
        "  sink(seen);\n  flush();\n",
    ),
    (
        "ASplitIsPublishedBeforeItIsFilled",
        2,
        "page_table_history_test",
        "ASplitOrPromotedPageIsNeverAnotherOne",
        "page_table/resize",
        "  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {\n" +
        "    const Word part = F::SplitLeaf(leaf, level, i);\n",
        "  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});\n" +
        "  Publish<F>(*entry, F::MakeInner(tree.memory().FrameOf(table)));\n" +
        "  for (unsigned i = 0; i < kEntriesPerTable<F>; ++i) {\n" +
        "    const Word part = F::SplitLeaf(leaf, level, i);\n",
    ),
    (
        "ASplitLosesAccessed",
        2,
        "page_table_history_test",
        "ASplitOrPromotedPageIsNeverAnotherOne",
        "page_table/resize",
        "const Word part = F::SplitLeaf(leaf, level, i);",
        "const Word part = F::SplitLeaf(leaf & ~F::kAccessed, level, i);",
    ),
    (
        "APromotionLosesAccessed",
        2,
        "page_table_history_test",
        "ASplitOrPromotedPageIsNeverAnotherOne",
        "page_table/resize",
        "gathered |= bits;",
        "gathered |= bits & F::kDirty;",
    ),
    (
        "APromotionThatFailsLosesAccessed",
        2,
        "page_table_history_test",
        "ASplitOrPromotedPageIsNeverAnotherOne",
        "page_table/resize",
        "if ((accessed[i / 64] >> i % 64 & 1) != 0) taken |= F::kAccessed;",
        "",
    ),
    (
        "APromotionDoesNotFlush",
        2,
        "page_table_history_test",
        "ASplitOrPromotedPageIsNeverAnotherOne",
        "page_table/resize",
        "  flusher.Flush(GfnRange{gfn, gfn + FramesAt<F>(level)});\n" +
        "  Publish<F>(*entry, large | gathered);\n",
        "  Publish<F>(*entry, large | gathered);\n",
    ),
    (
        "ANewLeafTableIsNotEmptied",
        2,
        "page_table_history_test",
        "AMappingAppearsWithTheTablesAboveIt",
        "page_table/tables",
        "for (Entry& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);",
        "if (level != Level{1}) {\n" +
        "for (Entry& entry : table->entries) WriteOnce(entry, F::kEmpty, kRelaxed);\n" +
        "}",
    ),
    (
        "ATableLeavesBeforeItIsClosed",
        4,
        "page_table_history_test",
        "ARemovedTableIsThereUntilAllIsOnRecord",
        "page_table/remove",
        "    CloseTable(tree, tree.ChildOf(inner), level.Below(), covers.begin, sink,\n" +
        "               closed);\n" +
        "    Empty<F>(entry);\n",
        "    Empty<F>(entry);\n" +
        "    CloseTable(tree, tree.ChildOf(inner), level.Below(), covers.begin, sink,\n" +
        "               closed);\n",
    ),
    (
        "ARemovalDoesNotFlush",
        4,
        "page_table_history_test",
        "ARemovedTableIsThereUntilAllIsOnRecord",
        "page_table/remove",
        "    flusher.Flush(covers);\n",
        "",
    ),
    (
        "AFrozenNeighbourHidesTheYoung",
        5,
        "page_table_history_test",
        "WhatAHarvestClearsIsInItsOutput",
        "harvest",
        "if (young != 0) output_.SetYoung(first, young);",
        "if (young != 0 && frozen == 0) output_.SetYoung(first, young);",
    ),
    (
        "AColdTableIsAskedOnce",
        5,
        "page_table_history_test",
        "AReclaimedTableIsColdAndOnRecord",
        "page_table/cold",
        "  if (AnyInUse<F>(leaves)) {\n",
        "  if (false) {\n",
    ),
    (
        "AnExactPruneDoesNotFlush",
        5,
        "page_table_history_test",
        "WhatIsPrunedIsFoundByTheNextPass",
        "prune",
        "if (flush_ && pruning_ == Pruning::kExact) {",
        "if (false) {",
    ),
    (
        "WhatIsUnknownIsNotLookedAtAgain",
        5,
        "page_table_history_test",
        "WhatIsPrunedIsFoundByTheNextPass",
        "prune",
        "if (result.complete || action_ == AgeAction::kTest) return;",
        "return;",
    ),
    (
        "AParentIsNotMarked",
        5,
        "page_table_history_test",
        "WhatIsPrunedIsFoundByTheNextPass",
        "prune",
        "if (TryCmpxchg(entry, seen, static_cast<Word>(seen | F::kAccessed),\n" +
        "                     kRelease)) {",
        "if (true) {",
    ),
]

def _quoted(text):
    json = "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\""

    # For the shell, and for the expansion of "$" that comes before it.
    return "'" + json.replace("'", "'\\''").replace("$", "$$") + "'"

def broken_tests():
    """Declares one for each row; call it after the tests that they name."""
    for name, contract, test, case, header, old, new in _ROWS:
        broken = "broken/contract%d_%s" % (contract, name)
        mutant = broken + "_headers/ptage/" + header + ".h"
        of = native.existing_rule(test)
        native.genrule(
            name = broken + "_header",
            srcs = ["//include/ptage:" + header + ".h"],
            outs = [mutant],
            cmd = "python3 $(location //test/relacy:mutate.py) $< %s %s > $@" % (
                _quoted(old),
                _quoted(new),
            ),
            tags = ["mutant"],
            tools = ["//test/relacy:mutate.py"],
        )
        native.cc_binary(
            name = broken + "_binary",
            testonly = True,
            srcs = list(of["srcs"]) + [mutant],
            # Before the shipped header, which is found by -I. What is broken may
            # leave a variable unused.
            copts = COPTS + ["-iquote$(GENDIR)/test/" + broken + "_headers", "-w"],
            tags = ["mutant"],
            deps = list(of["deps"]),
        )
        native.sh_test(
            name = broken,
            size = "small",
            srcs = ["broken_test.sh"],
            args = ["$(location :%s_binary)" % broken, case],
            data = [broken + "_binary"],
            tags = ["mutant"],
        )
