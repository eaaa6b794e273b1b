// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Nodes behind a link, for the searches of the epoch domains.

#ifndef PTAGE_TEST_RELACY_LINKED_NODES_H_
#define PTAGE_TEST_RELACY_LINKED_NODES_H_

#include <cstdint>

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// What walks reach through a link, until a writer unlinks and retires it.
struct Node {
  Retired retired;
  Plain<unsigned> payload;
  // A place at which the walk can be interrupted while it holds the node.
  Cell<std::uint32_t> step;
  unsigned freed = 0;

  void Start() {
    retired.free = [](Retired&, void* owner) {
      auto* const self = static_cast<Node*>(owner);
      ++self->freed;
      self->payload.Set(0);
    };
    retired.owner = this;
    payload.Set(1);
    WriteOnce(step, 0u, kRelaxed);
  }
  void Use() {
    Require(freed == 0, "nothing is freed under a walk");
    Require(payload.Get() == 1, "nothing is freed under a walk");
  }
};

template <class Domain>
class LinkedNodes {
 public:
  LinkedNodes() = default;
  template <class Options>
  explicit LinkedNodes(const Options& options) : domain_(options) {}

  void Start() {
    for (Node& node : nodes_) node.Start();
    WriteOnce(link_, &nodes_[0], kRelaxed);
  }
  // One walk that follows the link. False if it could not begin.
  bool Walk() {
    LocklessWalk<Domain> walk(domain_);
    if (!walk) return false;
    Follow();
    return true;
  }
  // Inside a walk: follows the link. False if it leads nowhere.
  bool Follow() {
    Node* const node = ReadOnce(link_, kAcquire);
    if (node == nullptr) return false;
    node->Use();
    static_cast<void>(ReadOnce(node->step, kRelaxed));
    node->Use();
    return true;
  }
  // Unlinks node `index`, puts `next` in its place, and retires it.
  auto Replace(unsigned index, Node* next) {
    WriteOnce(link_, next, kRelease);
    return domain_.Retire(nodes_[index].retired);
  }
  void Unlink() { WriteOnce(link_, nullptr, kRelease); }
  Node& node(unsigned index) { return nodes_[index]; }
  Domain& domain() { return domain_; }

 private:
  Cell<Node*> link_;
  Node nodes_[2];
  // Last: what it holds at its end it frees.
  Domain domain_;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LINKED_NODES_H_
