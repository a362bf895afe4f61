// Memory for large tensors: address ranges that are split, joined again and kept, so that steps of varying shapes reuse the same pages.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "allocator.h"

namespace prospect {

/**
 * Takes the free range that fits best, preferring one whose pages are in memory, and joins neighbours when they are freed. Ranges of pages
 * that were never touched, or were given back, are apart from those in memory, since only these count against the limit.
 */
class Arena {
 public:
  void* take(size_t bytes);
  /// False where the block did not come from take().
  bool give(void* block);
  MemoryUse use();
  void resetPeak();
  /// Gives the pages of all free ranges back to the system.
  void empty();

 private:
  using Address = uintptr_t;
  struct Range {
    size_t size;
    bool resident;  // its pages may be in memory
    Address region;  // ranges of two regions are never joined
  };
  using Free = std::map<Address, Range>;
  using BySize = std::set<std::pair<size_t, Address>>;

  BySize& sizes(bool resident) { return resident ? resident_ : untouched_; }
  Address fit(size_t size);
  Address fitUntouched(size_t size);
  void insert(Address address, Range range);
  void erase(Free::iterator range);
  Address cut(Free::iterator range, size_t size);
  bool reserve(size_t size);
  void release(Free::iterator range, size_t size);
  void trim(size_t incoming);

  std::mutex mutex_;
  Free free_;
  BySize resident_, untouched_;
  struct Block {
    size_t size;
    Address region;
  };
  std::unordered_map<Address, Block> taken_;
  size_t live_ = 0, peak_ = 0, largest_ = 0, cached_ = 0;
};

}  // namespace prospect
