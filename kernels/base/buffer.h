#ifndef FILIGREE_KERNELS_BASE_BUFFER_H_
#define FILIGREE_KERNELS_BASE_BUFFER_H_

#include <cstddef>
#include <span>
#include <utility>

namespace filigree::kernels {

// Bytes aligned to 64, in 2 MB pages where large (rows of tiles are visited at random), zero on return.
// Aborts with the size where the system has no memory: callers that can refuse ask first.
void* AllocateZeroed(size_t bytes);
void FreeAllocated(void* p, size_t bytes);

// An owned, zero-initialised, 64-byte aligned array of a trivial type. Movable, not copyable.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size) : data_(static_cast<T*>(AllocateZeroed(size * sizeof(T)))), size_(size) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { FreeAllocated(data_, size_ * sizeof(T)); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  std::span<T> span() { return {data_, size_}; }
  std::span<const T> span() const { return {data_, size_}; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_BUFFER_H_
