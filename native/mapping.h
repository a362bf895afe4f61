// Files as tensors without reading them: safetensors are mapped, and pages come from disk when an operator touches them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace prospect {

/// A whole file, mapped copy-on-write. Tensors over it keep it alive.
class Mapping {
 public:
  /// Throws std::runtime_error naming the file.
  static std::shared_ptr<Mapping> open(const std::string& path);
  Mapping(void* data, size_t size, std::string path) : data_(data), size_(size), path_(std::move(path)) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  char* data() const { return static_cast<char*>(data_); }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  void* data_;
  size_t size_;
  std::string path_;
};

/// Throws std::runtime_error where the tensor would reach outside the file.
at::Tensor tensorOver(const std::shared_ptr<Mapping>& mapping, int64_t offset, const std::vector<int64_t>& shape, at::ScalarType dtype);
/// Uninitialised, contiguous, on the CPU.
at::Tensor emptyTensor(const std::vector<int64_t>& shape, at::ScalarType dtype, bool pinned = false);

}  // namespace prospect
