#include "mapping.h"

#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>
#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace prospect {
namespace {

/// Elements of a shape; throws where a size is negative or the product overflows.
int64_t elementCount(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const auto size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) throw std::runtime_error("the shape is negative or too large");
  }
  return count;
}

std::runtime_error fileError(const std::string& path) { return std::runtime_error(path + ": " + std::strerror(errno)); }

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw fileError(path);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<Mapping> Mapping::open(const std::string& path) {
  const FileDescriptor file(path);
  struct stat status;
  if (fstat(file.get(), &status) != 0) throw fileError(path);
  if (status.st_size == 0) throw std::runtime_error(path + ": the file is empty");
  const auto size = static_cast<size_t>(status.st_size);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) throw fileError(path);
  return std::make_shared<Mapping>(data, size, path);
}

Mapping::~Mapping() { munmap(data_, size_); }

at::Tensor tensorOver(const std::shared_ptr<Mapping>& mapping, int64_t offset, const std::vector<int64_t>& shape, at::ScalarType dtype) {
  int64_t bytes;
  if (__builtin_mul_overflow(elementCount(shape), static_cast<int64_t>(c10::elementSize(dtype)), &bytes) || offset < 0 ||
      static_cast<uint64_t>(offset) > mapping->size() || static_cast<uint64_t>(bytes) > mapping->size() - static_cast<uint64_t>(offset)) {
    throw std::runtime_error(mapping->path() + ": a tensor at byte " + std::to_string(offset) + " reaches outside the file of " +
                             std::to_string(mapping->size()) + " bytes");
  }
  // What at::from_blob does; its header would pull in all of ATen.
  auto data = c10::InefficientStdFunctionContext::makeDataPtr(mapping->data() + offset, [mapping](void*) {}, at::kCPU);
  c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<size_t>(bytes), std::move(data), nullptr, false);
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(dtype));
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

at::Tensor emptyTensor(const std::vector<int64_t>& shape, at::ScalarType dtype, bool pinned) {
  elementCount(shape);
  return at::empty(shape, at::TensorOptions().dtype(dtype).pinned_memory(pinned));
}

}  // namespace prospect
