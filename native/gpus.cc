#include "gpus.h"

#include <dlfcn.h>

#include <array>

namespace prospect {
namespace {

// The driver's interface, as cuda.h declares it; these symbols have not changed since CUDA 3.2.
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;

template <typename Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

std::string driverVersion() {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (library == nullptr) return "";
  auto* start = symbol<int()>(library, "nvmlInit_v2");
  auto* version = symbol<int(char*, unsigned)>(library, "nvmlSystemGetDriverVersion");
  std::array<char, 80> text{};
  const bool known = start != nullptr && version != nullptr && start() == 0 && version(text.data(), text.size()) == 0;
  return known ? text.data() : "";
}

Gpu describe(void* library, int ordinal) {
  Gpu gpu{"unknown", 0, 0, 0};
  auto* get = symbol<int(int*, int)>(library, "cuDeviceGet");
  auto* name = symbol<int(char*, int, int)>(library, "cuDeviceGetName");
  auto* memory = symbol<int(size_t*, int)>(library, "cuDeviceTotalMem_v2");
  auto* attribute = symbol<int(int*, int, int)>(library, "cuDeviceGetAttribute");
  int device = 0;
  std::array<char, 256> text{};
  size_t bytes = 0;
  if (get == nullptr || get(&device, ordinal) != 0) return gpu;
  if (name != nullptr && name(text.data(), static_cast<int>(text.size()), device) == 0) gpu.name = text.data();
  if (memory != nullptr && memory(&bytes, device) == 0) gpu.memory = bytes;
  if (attribute != nullptr) {
    attribute(&gpu.major, kCapabilityMajor, device);
    attribute(&gpu.minor, kCapabilityMinor, device);
  }
  return gpu;
}

}  // namespace

Gpus findGpus() {
  Gpus gpus;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) return gpus.problem = "no NVIDIA driver was found (libcuda.so.1)", gpus;
  auto* start = symbol<int(unsigned)>(library, "cuInit");
  auto* count = symbol<int(int*)>(library, "cuDeviceGetCount");
  auto* version = symbol<int(int*)>(library, "cuDriverGetVersion");
  if (start == nullptr || count == nullptr) return gpus.problem = "libcuda.so.1 is not the NVIDIA driver's library", gpus;
  if (const int error = start(0); error != 0) return gpus.problem = "the NVIDIA driver does not start: cuInit gives error " + std::to_string(error), gpus;
  int devices = 0;
  count(&devices);
  if (version != nullptr) version(&gpus.cuda);
  gpus.driver = driverVersion();
  for (int i = 0; i < devices; i++) gpus.all.push_back(describe(library, i));
  if (gpus.all.empty()) gpus.problem = "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)";
  return gpus;
}

}  // namespace prospect
