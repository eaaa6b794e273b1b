// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The world that is soaked: groups of pages that share a table, in whose
// entries they come and go; the table is removed now and then, and comes back
// under another group.
//
// Contract
//   Update, Replace, Touch and Look may be called by any actors at once; the
//   rest when no other thread uses the world. Each follows the protocols of
//   rmap.h and page_table.h as an MMU does.

#ifndef PTAGE_TEST_SOAK_WORLD_H_
#define PTAGE_TEST_SOAK_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptage/lock.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/soak/actor.h"
#include "test/soak/faults.h"
#include "test/soak/format.h"
#include "test/soak/policies.h"
#include "test/soak/roster.h"
#include "test/soak/setups.h"
#include "test/soak/token.h"

namespace ptage::soak {

template <class S>
class World {
 public:
  using Setup = S;
  using Rmaps = typename S::Rmaps;
  using Walk = LocklessWalk<Domain>;

  World();
  // Zaps everything.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // A fault, or a zap, whichever brings the page's list nearer to the length
  // that it is to have for the time being.
  void Update(Actor& actor, unsigned group_index);
  // Removes a group's table for a fresh one; does nothing without memory.
  void Replace(Actor& actor, unsigned group_index);
  // An access of a vCPU through one entry of the group.
  void Touch(Actor& actor, unsigned group_index);
  // Scans one page's rmap, and checks what was visited. Precondition: inside a
  // section of domain(). The tallies are the actor's own, or its handler's.
  void Look(Actor& actor, Scan& scan, Tallies& tallies, unsigned page,
            AgeAction action, AgeMode mode);

  // Adds to `total.failures` what does not fit together, `total` being all that
  // was ever done to this world.
  void Check(Tallies& total);
  // Zaps every entry. Returns what was not given back.
  std::size_t Drain(Actor& actor);

  // Sends updates of all writers to one group for a while.
  void Burst(std::uint32_t updates, unsigned group) {
    WriteOnce(burst_group_, group, kRelaxed);
    WriteOnce(burst_left_, updates, kRelaxed);
  }
  // The group of the burst, if one is on; else one at random.
  unsigned GroupToUpdate(Actor& actor);

  Domain& domain() { return domain_; }

 private:
  using Entry = SpteCell<F>;

  struct alignas(64) Group {
    RmapHead heads[kPagesPerGroup] = {};
    // The lengths that the lists are to have.
    Cell<std::uint32_t> wanted[kPagesPerGroup];
    Cell<Table<F>*> table;
    Cell<std::uint32_t> being_replaced;
    Roster roster;
    // Written by the owner of the entry.
    Plain<std::uint64_t> mappings[kEntriesPerGroup];
  };

  // Room for the tables that walks hold back.
  static constexpr std::size_t kTables = kGroups * 4;

  struct alignas(4096) TablePage : Table<F> {};
  static_assert(sizeof(TablePage) == sizeof(Table<F>));

  static Token Seen(typename F::Word word) { return F::TokenOf(word); }
  RmapHead& HeadOf(unsigned page) {
    return groups_[page / kPagesPerGroup].heads[page % kPagesPerGroup];
  }
  std::uint32_t Count(RmapHead& head) {
    return setup_.AsWriter([&] { return setup_.rmaps().Count(head); });
  }

  void Map(Actor& actor, unsigned group_index, unsigned page, Entry& entry,
           unsigned index);
  RmapAdd AddOrRecycle(Actor& actor, unsigned group_index, unsigned page,
                       Entry& entry);
  bool ZapOne(Actor& actor, Group& group, Entry& entry);
  // What a zap does with an entry that it has frozen.
  void HandOn(Actor& actor, Group& group, Entry& entry, typename F::Word taken);
  void SetUpTable(Table<F>& table, unsigned group_index);

  std::vector<TablePage> tables_;
  std::vector<TableInfo<F>> infos_;
  std::vector<Cell<std::uint64_t>> gfns_;
  // Who had each table last; written by who allocates it.
  std::vector<Plain<unsigned>> had_by_;
  FaultyMemory memory_;
  Domain domain_;
  S setup_;
  Group groups_[kGroups];
  Cell<std::uint32_t> burst_left_{0u};
  Cell<std::uint32_t> burst_group_{0u};
};

// ---------------------------------------------------------------------------

template <class S>
World<S>::World()
    : tables_(kTables),
      infos_(kTables),
      gfns_(kTables * kEntriesPerTable<F>),
      had_by_(kTables, Plain<unsigned>(kPoisonGroup)),
      memory_(tables_.data(), infos_.data(), gfns_.data(), kTables),
      setup_(memory_, domain_) {
  for (unsigned i = 0; i < kGroups; ++i) {
    Group& group = groups_[i];
    for (auto& wanted : group.wanted) WriteOnce(wanted, 8u, kRelaxed);
    for (auto& mapping : group.mappings) mapping.Set(0);
    WriteOnce(group.being_replaced, 0u, kRelaxed);
    Table<F>* const table = memory_.Allocate(TableKind::kIndirect);
    SetUpTable(*table, i);
    WriteOnce(group.table, table, kRelease);
  }
}

template <class S>
World<S>::~World() {
  Actor last(0, WalkFaults{.every = 0});
  Drain(last);
}

template <class S>
void World<S>::SetUpTable(Table<F>& table, unsigned group_index) {
  TableInfo<F>& info = memory_.InfoOf(&table);
  info.base.Set(0);
  info.level.Set(1);
  info.kind.Set(static_cast<std::uint32_t>(TableKind::kIndirect));
  info.table = &table;
  info.retired.owner = &memory_;
  info.retired.free = [](Retired& self, void* owner) {
    static_cast<FaultyMemory*>(owner)->Free(
        reinterpret_cast<TableInfo<F>&>(self).table);
  };
  for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
    WriteOnce(table.entries[i], F::kEmpty, kRelaxed);
  }
  Plain<unsigned>& had_by =
      had_by_[static_cast<std::size_t>(&info - infos_.data())];
  if (had_by.Get() != kPoisonGroup && had_by.Get() != group_index &&
      this_actor != nullptr) {
    this_actor->tallies.faults.Add(Fault::kTableReused);
  }
  had_by.Set(group_index);
}

template <class S>
unsigned World<S>::GroupToUpdate(Actor& actor) {
  const std::uint32_t left = ReadOnce(burst_left_, kRelaxed);
  if (left == 0) return static_cast<unsigned>(actor.Below(kGroups));
  // Two may count one; it is only a length.
  WriteOnce(burst_left_, left - 1, kRelaxed);
  actor.tallies.faults.Add(Fault::kWriterBurst);
  return ReadOnce(burst_group_, kRelaxed);
}

template <class S>
void World<S>::Update(Actor& actor, unsigned group_index) {
  // At the ends of chunks, and where a list begins and ends.
  static constexpr std::uint32_t kLengths[] = {0,  1,  2,  3,  6,  7,  8, 9,
                                               20, 21, 22, 23, 35, 36, 60};
  Group& group = groups_[group_index];
  const Walk walk(domain_, WalkEntry::kWait);
  Table<F>& table = *ReadOnce(group.table, kAcquire);
  const auto page = static_cast<unsigned>(actor.Below(kPagesPerGroup));
  if (actor.OneIn(64)) {
    WriteOnce(group.wanted[page],
              kLengths[actor.Below(sizeof(kLengths) / sizeof(*kLengths))],
              kRelaxed);
  }
  const bool add =
      Count(group.heads[page]) < ReadOnce(group.wanted[page], kRelaxed) ||
      actor.OneIn(8);
  const auto from = static_cast<unsigned>(actor.Below(kEntriesPerGroup));
  for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
    const unsigned index = (from + i) % kEntriesPerGroup;
    Entry& entry = table.entries[index];
    const typename F::Word word = ReadOnce(entry, kRelaxed);
    if (add) {
      if (word != F::kEmpty || !Freeze<F>(entry, F::kEmpty)) continue;
      Map(actor, group_index, page, entry, index);
      return;
    }
    if (!F::IsPresent(word) || Seen(word).Page() != page) continue;
    if (ZapOne(actor, group, entry)) return;
  }
}

template <class S>
void World<S>::Map(Actor& actor, unsigned group_index, unsigned page,
                   Entry& entry, unsigned index) {
  Group& group = groups_[group_index];
  Plain<std::uint64_t>& mappings = group.mappings[index];
  mappings.Set(mappings.Get() + 1);
  const Token token(group_index, page, index, mappings.Get());
  RecordFrame<F>(memory_, entry, GfnOf(token.GlobalPage()));
  MayStallWriter(Fault::kFrozenWriter);
  const RmapAdd added = AddOrRecycle(actor, group_index, page, entry);
  if (added != RmapAdd::kDone) {
    if (added == RmapAdd::kNoMemory) ++actor.tallies.no_chunk;
    Empty<F>(entry);
    return;
  }
  ++actor.tallies.updates;
  group.roster.Announce(token);
  Publish<F>(entry, F::MakeLeaf(token.AsPfn(), Level{1}, Rights::kAll));
  group.roster.Confirm(token);
}

template <class S>
RmapAdd World<S>::AddOrRecycle(Actor& actor, unsigned group_index,
                               unsigned page, Entry& entry) {
  Group& group = groups_[group_index];
  RmapHead& head = group.heads[page];
  const auto add = [&] {
    return setup_.AsWriter([&] { return setup_.rmaps().Add(head, entry); });
  };
  RmapAdd added = add();
  if (added != RmapAdd::kFull) return added;
  actor.tallies.faults.Add(Fault::kCapReached);
  // Others may own entries of the list, so this is no loop without an end.
  for (std::uint32_t i = 0; i < kCap; ++i) {
    Entry* const any =
        setup_.AsWriter([&] { return setup_.rmaps().Any(head); });
    if (any == nullptr) break;
    const typename F::Word word = ReadOnce(*any, kRelaxed);
    if (F::IsPresent(word) && Seen(word).Group() == group_index &&
        Seen(word).Page() == page) {
      (void)ZapOne(actor, group, *any);
    }
  }
  return add();
}

template <class S>
void World<S>::HandOn(Actor& actor, Group& group, Entry& entry,
                      typename F::Word taken) {
  const Token token = Seen(taken);
  if (IsYoung<F>(taken)) ++actor.tallies.handed[token.GlobalPage()];
  if (!setup_.AsWriter([&] {
        return setup_.rmaps().Remove(group.heads[token.Page()], entry);
      })) {
    ++actor.tallies.failures.corrupt;
  }
  ++actor.tallies.updates;
}

template <class S>
bool World<S>::ZapOne(Actor& actor, Group& group, Entry& entry) {
  for (;;) {
    const typename F::Word seen = ReadOnce(entry, kAcquire);
    if (!F::IsPresent(seen)) return false;
    group.roster.TakeOff(Seen(seen));
    if (ZapSeen<F>(
            entry, seen, [] { MayStallWriter(Fault::kFrozenWriter); },
            [&](typename F::Word taken) {
              HandOn(actor, group, entry, taken);
            })) {
      return true;
    }
  }
}

template <class S>
void World<S>::Replace(Actor& actor, unsigned group_index) {
  Group& group = groups_[group_index];
  if (!TryCmpxchg(group.being_replaced, 0u, 1u, kAcquire)) return;
  const Walk walk(domain_, WalkEntry::kWait);
  Table<F>* const fresh = memory_.Allocate(TableKind::kIndirect);
  if (fresh != nullptr) {
    SetUpTable(*fresh, group_index);
    Table<F>& old = *ReadOnce(group.table, kAcquire);
    // Every entry is closed, empty ones too, so that no fault fills one again.
    for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
      Entry& entry = old.entries[i];
      for (;;) {
        const typename F::Word seen = ReadOnce(entry, kAcquire);
        if (IsFrozen<F>(seen)) {
          sched_yield();  // its owner waits for nobody who waits for this
          continue;
        }
        const bool present = F::IsPresent(seen);
        if (present) group.roster.TakeOff(Seen(seen));
        if (!Freeze<F>(entry, seen)) continue;
        if (present) HandOn(actor, group, entry, seen);
        break;
      }
    }
    WriteOnce(group.table, fresh, kRelease);
    domain_.Retire(memory_.InfoOf(&old).retired);
  }
  WriteOnce(group.being_replaced, 0u, kRelease);
}

template <class S>
void World<S>::Touch(Actor& actor, unsigned group_index) {
  const Walk walk(domain_, WalkEntry::kWait);
  Table<F>& table = *ReadOnce(groups_[group_index].table, kAcquire);
  Entry& entry = table.entries[actor.Below(kEntriesPerGroup)];
  for (;;) {
    const typename F::Word seen = ReadOnce(entry, kRelaxed);
    if (!F::IsPresent(seen) || IsYoung<F>(seen)) return;
    if (TryCmpxchg(entry, seen, seen | F::kAccessed, kRelaxed)) {
      ++actor.tallies.made[Seen(seen).GlobalPage()];
      return;
    }
  }
}

template <class S>
void World<S>::Look(Actor& actor, Scan& scan, Tallies& tallies, unsigned page,
                    AgeAction action, AgeMode mode) {
  Group& group = groups_[page / kPagesPerGroup];
  const std::uint64_t foreign = scan.foreign();
  const std::uint64_t strangers = scan.strangers();
  // What is counted of a scan that its thread does not survive counts too.
  struct Tally {
    ~Tally() {
      to.visits += counts.examined;
      to.unanswered += counts.unanswered;
      to.taken[page] += takes ? counts.young - counts.lost_races : 0;
      to.strangers += scan.strangers() - strangers;
      to.failures.foreign += scan.foreign() - foreign;
      ++to.scans;
    }
    Tallies& to;
    Scan& scan;
    const unsigned page;
    const bool takes;
    const std::uint64_t foreign;
    const std::uint64_t strangers;
    AgeCounts counts;
  } tally{tallies, scan,      page, action == AgeAction::kTestAndClear,
          foreign, strangers, {}};
  scan.Begin(group.roster, page / kPagesPerGroup, page % kPagesPerGroup);
  Scan* const outer = actor.scan;
  actor.scan = &scan;
  const AgeResult result =
      setup_.rmaps().Age(HeadOf(page), RmapFrame{GfnOf(page), Level{1}}, action,
                         mode, tally.counts);
  actor.scan = outer;
  // What a discipline leaves unknown it has not scanned.
  if (result.complete || Rmaps::kFastAging) {
    tallies.failures.missed += scan.CountMissed(group.roster);
  }
}

template <class S>
void World<S>::Check(Tallies& total) {
  std::uint64_t left[kPages] = {};
  std::uint32_t mapped[kPages] = {};
  std::size_t chunks = 0;
  for (unsigned g = 0; g < kGroups; ++g) {
    Table<F>& table = *ReadOnce(groups_[g].table, kAcquire);
    for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
      Entry& entry = table.entries[i];
      const typename F::Word word = ReadOnce(entry, kAcquire);
      if (IsFrozen<F>(word)) ++total.failures.corrupt;
      if (!F::IsPresent(word)) continue;
      const Token token = Seen(word);
      if (token.Group() != g || token.Entry() != i) {
        ++total.failures.corrupt;
        continue;
      }
      ++mapped[token.GlobalPage()];
      if (IsYoung<F>(word)) ++left[token.GlobalPage()];
      RmapHead& head = HeadOf(token.GlobalPage());
      if (!setup_.AsWriter(
              [&] { return setup_.rmaps().Contains(head, entry); })) {
        ++total.failures.corrupt;
      }
    }
  }
  for (unsigned page = 0; page < kPages; ++page) {
    if (Count(HeadOf(page)) != mapped[page]) ++total.failures.corrupt;
    chunks += S::ChunksFor(mapped[page]);
    const std::uint64_t found =
        total.taken[page] + total.handed[page] + left[page];
    total.failures.unbalanced += found > total.made[page]
                                     ? found - total.made[page]
                                     : total.made[page] - found;
    // So that a later check does not count it again.
    total.made[page] = found;
  }
  if (setup_.ChunksInUse() != chunks) ++total.failures.corrupt;
}

template <class S>
std::size_t World<S>::Drain(Actor& actor) {
  std::size_t leaked = 0;
  {
    const Walk walk(domain_, WalkEntry::kWait);
    for (Group& group : groups_) {
      Table<F>& table = *ReadOnce(group.table, kAcquire);
      for (unsigned i = 0; i < kEntriesPerGroup; ++i) {
        (void)ZapOne(actor, group, table.entries[i]);
      }
    }
  }
  domain_.Synchronize();
  leaked += setup_.ChunksInUse();
  leaked += memory_.InUse() - kGroups;
  return leaked;
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_WORLD_H_
