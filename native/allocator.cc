#include "allocator.h"

#include <c10/core/Allocator.h>
#include <sys/mman.h>
#include <torch/csrc/api/include/torch/version.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace prospect {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPage = 4096;
constexpr size_t kSmall = size_t{1} << 16;        // below this malloc is as fast
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMinimumCache = size_t{256} << 20;  // never trim below this much

/// Bytes of the block that serves a request: at most 1/8 over it, so that near sizes share blocks.
size_t blockSize(size_t bytes) {
  const size_t granule = size_t{1} << (63 - __builtin_clzll(bytes) - 3);
  return (bytes + granule - 1) / granule * granule;
}

class BlockCache {
 public:
  void* take(size_t bytes) {
    const size_t size = blockSize(bytes);
    std::lock_guard<std::mutex> guard(mutex_);
    void* block = reuse(size);
    if (block == nullptr) block = fresh(size);
    live_ += size;
    peak_ = std::max(peak_, live_);
    return block;
  }

  /// False where the block did not come from take().
  bool give(void* block) {
    std::lock_guard<std::mutex> guard(mutex_);
    const auto found = sizes_.find(block);
    if (found == sizes_.end()) return false;
    const size_t size = found->second;
    live_ -= size;
    cached_ += size;
    free_[size].push_back(block);
    // What is cached never exceeds what the busiest moment needed: memory stays within twice the true peak.
    if (cached_ > std::max(kMinimumCache, peak_ / 2) && cached_ + live_ > peak_ + kMinimumCache) release(size);
    return true;
  }

  MemoryUse use() {
    std::lock_guard<std::mutex> guard(mutex_);
    return {live_, peak_, cached_};
  }
  void resetPeak() {
    std::lock_guard<std::mutex> guard(mutex_);
    peak_ = live_;
  }
  void empty() {
    std::lock_guard<std::mutex> guard(mutex_);
    while (cached_ > 0) release(0);
  }

 private:
  void* reuse(size_t size) {
    auto found = free_.find(size);
    if (found == free_.end() || found->second.empty()) return nullptr;
    void* block = found->second.back();
    found->second.pop_back();
    cached_ -= size;
    return block;
  }

  void* fresh(size_t size) {
    const bool huge = size >= kHugePage;
    void* block = nullptr;
    if (posix_memalign(&block, huge ? kHugePage : kPage, size) != 0) {
      while (cached_ > 0) release(0);
      if (posix_memalign(&block, kPage, size) != 0) throw std::bad_alloc();
    }
    if (huge) madvise(block, size, MADV_HUGEPAGE);
    sizes_[block] = size;
    return block;
  }

  /// Frees one cached block: of another size than the one just returned where there is one.
  void release(size_t notOfSize) {
    auto victim = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second.empty()) continue;
      if (victim == free_.end() || it->first != notOfSize) victim = it;
      if (it->first != notOfSize) break;
    }
    if (victim == free_.end()) return;
    void* block = victim->second.back();
    victim->second.pop_back();
    cached_ -= victim->first;
    sizes_.erase(block);
    std::free(block);
  }

  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  std::unordered_map<void*, size_t> sizes_;
  size_t live_ = 0, peak_ = 0, cached_ = 0;
};

BlockCache& cache() {
  static auto& instance = *new BlockCache();  // never destroyed: tensors may be freed during static destruction
  return instance;
}

/// One deleter for small and large blocks, as Allocator::raw_deallocate demands. Large ones are page-aligned and on the list.
void freeAny(void* block) {
  if (block == nullptr) return;
  if (reinterpret_cast<uintptr_t>(block) % kPage == 0 && cache().give(block)) return;
  std::free(block);
}

class CachingAllocator final : public c10::Allocator {
 public:
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
  c10::DataPtr allocate(size_t bytes) override { return make(bytes); }
#else
  c10::DataPtr allocate(size_t bytes) const override { return make(bytes); }
#endif
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
  void copy_data(void* target, const void* source, std::size_t bytes) const override { default_copy_data(target, source, bytes); }
#endif

  c10::DeleterFnPtr raw_deleter() const override { return &freeAny; }

 private:
  static c10::DataPtr make(size_t bytes) {
    const c10::Device cpu(c10::kCPU);
    if (bytes == 0) return {nullptr, nullptr, &freeAny, cpu};
    if (bytes >= kSmall) {
      void* block = cache().take(bytes);
      return {block, block, &freeAny, cpu};
    }
    void* block = nullptr;
    if (posix_memalign(&block, kAlignment, bytes) != 0) throw std::bad_alloc();
    return {block, block, &freeAny, cpu};
  }
};

}  // namespace

void installAllocator() {
  static CachingAllocator allocator;
  c10::SetAllocator(c10::DeviceType::CPU, &allocator, 1);
}

MemoryUse memoryUse() { return cache().use(); }
void resetPeak() { cache().resetPeak(); }
void emptyCache() { cache().empty(); }

}  // namespace prospect
