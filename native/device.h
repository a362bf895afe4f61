// What a device other than the CPU is asked beside its operators: memory, and how exact and repeatable its operators are.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>

namespace prospect {

/// Bytes. `known`: whether this libtorch says.
struct DeviceMemory {
  bool known = false;
  uint64_t allocated = 0, reserved = 0, peakAllocated = 0, peakReserved = 0, free = 0, total = 0;
};

DeviceMemory deviceMemory(const c10::Device& device);
void resetDevicePeak(const c10::Device& device);
/// Gives blocks that no tensor uses back to the driver.
void emptyDeviceCache(const c10::Device& device);
/// Waits until the device has done all that it was given.
void synchronize(const c10::Device& device);
/// Whether float32 products on the GPU may round their factors to TF32's 10 bits.
void allowTf32(bool on);
/// Operators that give the same bits every time; one that cannot throws.
void deterministic(bool on);
/// Whether the process has libtorch's CUDA part, loaded before.
bool hasCuda();

}  // namespace prospect
