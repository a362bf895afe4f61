#include "device.h"

#include <ATen/Context.h>
#include <torch/csrc/api/include/torch/version.h>

#if __has_include(<c10/core/CachingDeviceAllocator.h>) && (TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 9)
#include <c10/core/CachingDeviceAllocator.h>
#define PROSPECT_DEVICE_ALLOCATOR
#endif

namespace prospect {

#ifdef PROSPECT_DEVICE_ALLOCATOR
namespace {

c10::DeviceAllocator* allocatorOf(const c10::Device& device) {
  if (device.is_cpu() || !hasCuda()) return nullptr;
  at::globalContext().lazyInitDevice(device.type());  // memory is asked for before the first tensor is there
  auto* allocator = at::getDeviceAllocator(device.type());
  return allocator != nullptr && allocator->initialized() ? allocator : nullptr;
}

c10::DeviceIndex indexOf(const c10::Device& device) { return device.has_index() ? device.index() : c10::DeviceIndex{0}; }

}  // namespace

DeviceMemory deviceMemory(const c10::Device& device) {
  auto* allocator = allocatorOf(device);
  if (allocator == nullptr) return {};
  const auto stats = allocator->getDeviceStats(indexOf(device));
  const auto info = allocator->getMemoryInfo(indexOf(device));
  const auto bytes = [](int64_t value) { return static_cast<uint64_t>(value); };
  const auto &allocated = stats.allocated_bytes[0], &reserved = stats.reserved_bytes[0];  // 0: all pools together
  return {true, bytes(allocated.current), bytes(reserved.current), bytes(allocated.peak), bytes(reserved.peak), info.first, info.second};
}

void resetDevicePeak(const c10::Device& device) {
  if (auto* allocator = allocatorOf(device)) allocator->resetPeakStats(indexOf(device));
}

void emptyDeviceCache(const c10::Device& device) {
  if (auto* allocator = allocatorOf(device)) allocator->emptyCache();
}
#else
DeviceMemory deviceMemory(const c10::Device&) { return {}; }
void resetDevicePeak(const c10::Device&) {}
void emptyDeviceCache(const c10::Device&) {}
#endif

void synchronize(const c10::Device& device) {
  if (device.is_cuda() && hasCuda()) at::detail::getCUDAHooks().deviceSynchronize(device.has_index() ? device.index() : c10::DeviceIndex{0});
}

void allowTf32(bool on) { at::globalContext().setAllowTF32CuBLAS(on); }
void deterministic(bool on) { at::globalContext().setDeterministicAlgorithms(on, false); }
bool hasCuda() { return at::globalContext().hasCUDA(); }

}  // namespace prospect
