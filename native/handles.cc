#include "handles.h"

#include <stdexcept>
#include <string>

namespace prospect {
namespace {
constexpr uint32_t kSlotBits = 20;
constexpr uint32_t kSlotMask = (1u << kSlotBits) - 1;
constexpr uint32_t kGenerationMask = (1u << 10) - 1;
}  // namespace

HandleTable& handles() {
  static auto& instance = *new HandleTable();  // never destroyed: worker threads may outlive static destruction
  return instance;
}

HandleTable::Slot* HandleTable::find(uint32_t handle) {
  const uint32_t slot = handle & kSlotMask;
  if (slot >= slots_.size()) return nullptr;
  auto& entry = slots_[slot];
  return entry.generation == handle >> kSlotBits && entry.tensor.defined() ? &entry : nullptr;
}

uint32_t HandleTable::put(at::Tensor tensor, uint32_t owner) {
  std::lock_guard<std::mutex> guard(mutex_);
  uint32_t slot;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    slot = static_cast<uint32_t>(slots_.size());
    if (slot > kSlotMask) throw std::runtime_error("over a million tensors are alive: is a scope() missing?");
    slots_.emplace_back();
  }
  auto& entry = slots_[slot];
  entry.tensor = std::move(tensor);
  entry.owner = owner;
  live_++;
  return entry.generation << kSlotBits | slot;
}

at::Tensor HandleTable::get(uint32_t handle) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (auto* entry = find(handle)) return entry->tensor;
  throw std::runtime_error("the tensor was disposed (handle " + std::to_string(handle) +
                           "); return it from its scope() or keep it to use it later");
}

void HandleTable::drop(uint32_t handle) {
  at::Tensor dead;  // destroyed after the lock is released: its destructor may free a large graph
  std::lock_guard<std::mutex> guard(mutex_);
  auto* entry = find(handle);
  if (entry == nullptr) return;
  dead = std::move(entry->tensor);
  entry->tensor = at::Tensor();
  entry->generation = entry->generation == kGenerationMask ? 1 : entry->generation + 1;
  free_.push_back(handle & kSlotMask);
  live_--;
}

void HandleTable::dropOwner(uint32_t owner) {
  std::vector<uint32_t> owned;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    for (uint32_t slot = 0; slot < slots_.size(); slot++) {
      const auto& entry = slots_[slot];
      if (entry.tensor.defined() && entry.owner == owner) owned.push_back(entry.generation << kSlotBits | slot);
    }
  }
  for (const auto handle : owned) drop(handle);
}

size_t HandleTable::live() {
  std::lock_guard<std::mutex> guard(mutex_);
  return live_;
}

}  // namespace prospect
