#include "writer.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>
#include <utility>

namespace prospect {
namespace {

constexpr size_t kPiece = size_t{8} << 20;

std::runtime_error fileError(const std::string& path) { return std::runtime_error(path + ": " + std::strerror(errno)); }

class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
    if (fd_ < 0) throw fileError(path);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() { ::close(fd_); }

  void write(const char* data, size_t bytes) const {
    while (bytes > 0) {
      const auto written = ::write(fd_, data, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw fileError(path_);
      data += written;
      bytes -= static_cast<size_t>(written);
    }
  }
  void sync() const {
    if (::fsync(fd_) != 0) throw fileError(path_);
  }

 private:
  const std::string& path_;
  int fd_;
};

}  // namespace

void FileWriter::add(std::string path, std::string header, const std::vector<at::Tensor>& tensors) {
  File file{std::move(path), std::move(header), {}};
  for (const auto& tensor : tensors) {
    const auto host = tensor.detach().cpu().contiguous();
    file.slots.push_back({host, !host.is_alias_of(tensor)});
  }
  files_.push_back(std::move(file));
}

void FileWriter::run() {
  std::exception_ptr failure;
  const auto setStarted = [this](bool started) {
    std::lock_guard<std::mutex> guard(mutex_);
    started_ = started;
    changed_.notify_all();
  };
  setStarted(true);
  const auto work = [&] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);  // of this thread: computing goes first
    try {
      writeAll();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  try {
    std::thread(work).join();
  } catch (...) {
    setStarted(false);  // there is no thread to wait for
    throw;
  }
  if (failure) std::rethrow_exception(failure);
}

void FileWriter::writeAll() {
  const auto end = [this] {
    std::lock_guard<std::mutex> guard(mutex_);
    for (auto& file : files_) file.slots.clear();
    busy_ = false;
    ended_ = true;
    changed_.notify_all();
  };
  try {
    for (auto& file : files_) write(file);
  } catch (...) {
    end();
    throw;
  }
  end();
}

void FileWriter::write(File& file) {
  const NewFile target(file.path);
  target.write(file.header.data(), file.header.size());
  for (auto& slot : file.slots) {
    size_t bytes = 0;
    for (size_t at = 0;; at += kPiece) {
      at::Tensor tensor;  // the slot's by turns: it may become a copy between two pieces
      {
        std::lock_guard<std::mutex> guard(mutex_);
        bytes = slot.tensor.nbytes();
        if (at >= bytes) {
          slot.tensor = at::Tensor();
          break;
        }
        tensor = slot.tensor;
        busy_ = !detached_ && !slot.own;  // detach() waits for what others may change, not for copies
      }
      if (cancelled_) throw std::runtime_error(file.path + ": the process ends");
      target.write(static_cast<const char*>(tensor.data_ptr()) + at, std::min(kPiece, bytes - at));
      tensor = at::Tensor();
      std::lock_guard<std::mutex> guard(mutex_);
      busy_ = false;
      changed_.notify_all();
    }
    changed_.notify_all();
  }
  target.sync();
}

size_t FileWriter::left() {
  std::lock_guard<std::mutex> guard(mutex_);
  size_t bytes = 0;
  if (detached_) return 0;
  for (const auto& file : files_)
    for (const auto& slot : file.slots)
      if (slot.mayChange()) bytes += slot.tensor.nbytes();
  return bytes;
}

void FileWriter::detach(bool copy) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (detached_) return;
  const auto allWritten = [this] {
    return std::all_of(files_.begin(), files_.end(), [](const File& file) {
      return std::none_of(file.slots.begin(), file.slots.end(), [](const Slot& slot) { return slot.mayChange(); });
    });
  };
  if (!copy && started_) {
    changed_.wait(lock, [&] { return ended_ || !started_ || (allWritten() && !busy_); });
    if (ended_ || started_) return;
  }
  // run() empties the list where it fails, so each is looked at under the lock.
  for (auto& file : files_) {
    for (size_t i = 0; i < file.slots.size(); i++) {
      if (file.slots[i].mayChange()) file.slots[i].tensor = file.slots[i].tensor.clone();
      lock.unlock();  // the writer goes on between two copies
      lock.lock();
    }
  }
  detached_ = true;
  changed_.wait(lock, [this] { return ended_ || !busy_; });  // a piece that is read from the tensor itself
}

}  // namespace prospect
