// The NVIDIA GPUs of the machine, from their driver's own library: whatever libtorch was found, and without CUDA's headers.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace prospect {

struct Gpu {
  std::string name;
  uint64_t memory;  // bytes
  int major, minor; // compute capability
};

struct Gpus {
  std::vector<Gpu> all;
  std::string driver;       // version, as 580.95.05; empty where it is not known
  int cuda = 0;             // the newest CUDA that the driver runs, as 13000 for 13.0
  std::string problem;      // why there are none; empty where the driver answers
};

Gpus findGpus();

}  // namespace prospect
