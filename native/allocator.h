// A caching allocator for tensors on the CPU: blocks are reused from step to step, so that a step does not page-fault its memory again.
#pragma once
#include <cstddef>

namespace prospect {

struct MemoryUse {
  size_t live;     // bytes in tensors
  size_t peak;     // most bytes in tensors since resetPeak()
  size_t largest;  // bytes of the largest tensor that was made since then
  size_t cached;   // bytes kept for reuse
};

/// Replaces libtorch's CPU allocator for the rest of the process. Tensors made before keep their own deleter.
void installAllocator();
MemoryUse memoryUse();
void resetPeak();
/// Gives all cached blocks back to the system.
void emptyCache();

}  // namespace prospect
