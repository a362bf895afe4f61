// Files of tensors written by another thread while this one computes with the same tensors, and may soon change them.
#pragma once
#include <ATen/core/Tensor.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace prospect {

/**
 * Holds tensors as they are now. What is not yet written when they are about to change is copied by detach(): a snapshot costs memory only for
 * what the disk has not taken by then.
 */
class FileWriter {
 public:
  /// A file that does not exist yet: its first bytes, then the tensors' elements in row-major order. Before run().
  void add(std::string path, std::string header, const std::vector<at::Tensor>& tensors);
  /// Writes and syncs all files, in a thread that gives way to others, and waits for it. Throws std::runtime_error naming the file.
  void run();
  /// Bytes of tensors that are neither written nor copied yet.
  size_t left();
  /// After it the tensors may be changed: copies what is left, or waits until that is written where it is being written.
  void detach(bool copy);
  /// For a process that ends now: run() throws soon.
  void cancel() { cancelled_ = true; }

 private:
  struct Slot {
    at::Tensor tensor;  // undefined once it is written
    bool own;           // shares no memory with the one that was given
    bool mayChange() const { return tensor.defined() && !own; }
  };
  struct File {
    std::string path, header;
    std::vector<Slot> slots;
  };
  void writeAll();
  void write(File& file);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<File> files_;
  bool busy_ = false;      // a piece of a tensor that was given is being read, outside of the lock
  bool started_ = false;
  bool detached_ = false;  // what is left are copies
  bool ended_ = false;
  std::atomic<bool> cancelled_{false};
};

}  // namespace prospect
