// Tensors as JavaScript sees them: small integers into one table of the process, shared by all its threads.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <vector>

namespace prospect {

/// A handle is `generation << 20 | slot` and fits V8's small integers. The generation, advanced whenever a slot is freed,
/// makes a handle that was kept too long an error instead of another tensor.
class HandleTable {
 public:
  uint32_t put(at::Tensor tensor, uint32_t owner);
  /// Throws std::runtime_error where the tensor was disposed.
  at::Tensor get(uint32_t handle);
  /// Frees the slot; a handle that is stale already is left alone.
  void drop(uint32_t handle);
  /// Frees all of an environment's tensors, when its thread ends.
  void dropOwner(uint32_t owner);
  size_t live();

 private:
  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 1;
    uint32_t owner = 0;
  };
  Slot* find(uint32_t handle);

  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  size_t live_ = 0;
};

HandleTable& handles();

}  // namespace prospect
