#include "allocator.h"

#include <c10/core/Allocator.h>
#include <torch/csrc/api/include/torch/version.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "arena.h"

namespace prospect {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmall = size_t{1} << 16;  // below this malloc is as fast

Arena& arena() {
  static auto& instance = *new Arena();  // never destroyed: tensors may be freed during static destruction
  return instance;
}

/// One deleter for small and large blocks, as Allocator::raw_deallocate demands. Large ones are page-aligned and on the list of the arena.
void freeAny(void* block) {
  if (block == nullptr) return;
  if (reinterpret_cast<uintptr_t>(block) % 4096 == 0 && arena().give(block)) return;
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
      void* block = arena().take(bytes);
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

MemoryUse memoryUse() { return arena().use(); }
void resetPeak() { arena().resetPeak(); }
void emptyCache() { arena().empty(); }

}  // namespace prospect
