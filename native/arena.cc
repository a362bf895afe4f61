#include "arena.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <new>

namespace prospect {
namespace {

constexpr size_t kGranule = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSlack = size_t{256} << 20;  // cached memory that is never worth giving back
constexpr size_t kLeastRegion = size_t{256} << 20;

size_t roundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/// Addresses, not memory: pages come when they are touched. One region for everything keeps free ranges joined.
size_t preferredRegion() {
  rlimit limit{};
  const bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  if (limited) return kLeastRegion;
  return roundUp(static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) * 2, kHugePage);
}

}  // namespace

void* Arena::take(size_t bytes) {
  const size_t size = roundUp(bytes, kGranule);
  std::lock_guard<std::mutex> guard(mutex_);
  Address address = fit(size);
  if (address == 0) {
    if (!reserve(size)) throw std::bad_alloc();
    address = fit(size);
  }
  live_ += size;
  peak_ = std::max(peak_, live_);
  largest_ = std::max(largest_, size);
  return reinterpret_cast<void*>(address);
}

bool Arena::give(void* block) {
  std::lock_guard<std::mutex> guard(mutex_);
  const auto found = taken_.find(reinterpret_cast<Address>(block));
  if (found == taken_.end()) return false;
  const auto [size, region] = found->second;
  const auto address = found->first;
  taken_.erase(found);
  live_ -= size;
  insert(address, {size, true, region});
  return true;
}

MemoryUse Arena::use() {
  std::lock_guard<std::mutex> guard(mutex_);
  return {live_, peak_, largest_, cached_};
}

void Arena::resetPeak() {
  std::lock_guard<std::mutex> guard(mutex_);
  peak_ = live_;
  largest_ = 0;
}

void Arena::empty() {
  std::lock_guard<std::mutex> guard(mutex_);
  while (!resident_.empty()) {
    const auto [size, address] = *resident_.rbegin();
    release(free_.find(address), size);
  }
}

/// Best fit among ranges in memory, else at the edge of what was never touched. 0: nothing fits.
Arena::Address Arena::fit(size_t size) {
  const auto best = resident_.lower_bound({size, 0});
  if (best != resident_.end()) return cut(free_.find(best->second), size);
  return fitUntouched(size);
}

Arena::Address Arena::fitUntouched(size_t size) {
  auto best = untouched_.lower_bound({size, 0});
  if (best == untouched_.end()) return 0;
  trim(size);  // may join ranges, so that another fits best
  best = untouched_.lower_bound({size, 0});
  auto range = free_.find(best->second);
  // A free range in memory that ends where this one begins serves for the first part: fewer new pages, and no gap left behind.
  if (range != free_.begin()) {
    const auto before = std::prev(range);
    if (before->second.resident && before->second.region == range->second.region && before->first + before->second.size == range->first) {
      const auto [start, joined] = *before;
      const Range rest = range->second;
      const Address edge = range->first;
      erase(before);
      erase(free_.find(edge));
      const size_t needed = size - joined.size;
      if (rest.size > needed) insert(edge + needed, {rest.size - needed, false, rest.region});
      taken_[start] = {size, joined.region};
      return start;
    }
  }
  return cut(range, size);
}

/// Takes the beginning of a free range; the rest stays free.
Arena::Address Arena::cut(Free::iterator range, size_t size) {
  const auto [address, whole] = *range;
  erase(range);
  if (whole.size > size) insert(address + size, {whole.size - size, whole.resident, whole.region});
  taken_[address] = {size, whole.region};
  return address;
}

/// Adds a free range, joined with its neighbours of the same kind.
void Arena::insert(Address address, Range range) {
  auto next = free_.lower_bound(address);
  const auto joins = [&](const Range& other) { return other.resident == range.resident && other.region == range.region; };
  if (next != free_.end() && address + range.size == next->first && joins(next->second)) {
    range.size += next->second.size;
    const auto joined = next++;
    erase(joined);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second.size == address && joins(before->second)) {
      address = before->first;
      range.size += before->second.size;
      erase(before);
    }
  }
  free_.emplace(address, range);
  sizes(range.resident).emplace(range.size, address);
  if (range.resident) cached_ += range.size;
}

void Arena::erase(Free::iterator range) {
  const auto& [address, value] = *range;
  if (value.resident) cached_ -= value.size;
  sizes(value.resident).erase({value.size, address});
  free_.erase(range);
}

bool Arena::reserve(size_t size) {
  const size_t least = roundUp(size, kHugePage) + kHugePage;  // room to begin at a huge page
  for (size_t wanted = std::max(least, preferredRegion());; wanted = std::max(least, wanted / 2)) {
    void* memory = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
      madvise(memory, wanted, MADV_HUGEPAGE);
      const auto start = roundUp(reinterpret_cast<Address>(memory), kHugePage);
      insert(start, {wanted - (start - reinterpret_cast<Address>(memory)), false, start});
      return true;
    }
    if (wanted == least) return false;
  }
}

/// Gives back the pages of at least the last `size` bytes of a free range, from the beginning of a huge page.
void Arena::release(Free::iterator range, size_t size) {
  const auto [address, whole] = *range;
  const Address start = std::max(address, (address + whole.size - size) / kHugePage * kHugePage);
  size = address + whole.size - start;
  erase(range);
  if (start > address) insert(address, {start - address, true, whole.region});
  madvise(reinterpret_cast<void*>(start), size, MADV_DONTNEED);
  insert(start, {size, false, whole.region});
}

/// Before new pages come: gives others back where memory would pass what the busiest moment needed by more than kSlack.
void Arena::trim(size_t incoming) {
  const size_t needed = std::max(peak_, live_ + incoming);
  const size_t limit = needed + kSlack;
  while (!resident_.empty() && live_ + cached_ + incoming > limit) {
    const auto [size, address] = *resident_.rbegin();
    release(free_.find(address), std::min(size, roundUp(live_ + cached_ + incoming - limit, kHugePage)));
  }
}

}  // namespace prospect
