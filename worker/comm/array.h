#ifndef FILIGREE_WORKER_COMM_ARRAY_H_
#define FILIGREE_WORKER_COMM_ARRAY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

// Elements in somebody's memory, as collectives take them.

namespace filigree::comm {

// kBytes and kBf16 travel and are not reduced.
enum class ElementType : uint8_t { kBytes, kBf16, kFloat32, kFloat64, kInt32, kInt64, kUint32, kUint64 };

size_t ElementBytes(ElementType type);
const char* Name(ElementType type);

enum class Memory : uint8_t { kHost, kDevice };

struct ConstArray {
  const void* data = nullptr;
  int64_t count = 0;  // elements
  ElementType type = ElementType::kBytes;
  Memory memory = Memory::kHost;
  void* stream = nullptr;  // cudaStream_t where memory is kDevice

  size_t bytes() const { return static_cast<size_t>(count) * ElementBytes(type); }
};

struct Array {
  void* data = nullptr;
  int64_t count = 0;
  ElementType type = ElementType::kBytes;
  Memory memory = Memory::kHost;
  void* stream = nullptr;

  size_t bytes() const { return static_cast<size_t>(count) * ElementBytes(type); }
  operator ConstArray() const { return {data, count, type, memory, stream}; }  // NOLINT(google-explicit-constructor)
};

// bf16 values are uint16_t in memory: BfArrayOf says that they are numbers.
template <typename T>
constexpr ElementType TypeOf() {
  if constexpr (std::is_same_v<T, float>) return ElementType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return ElementType::kFloat64;
  if constexpr (std::is_same_v<T, int32_t>) return ElementType::kInt32;
  if constexpr (std::is_same_v<T, int64_t>) return ElementType::kInt64;
  if constexpr (std::is_same_v<T, uint32_t>) return ElementType::kUint32;
  if constexpr (std::is_same_v<T, uint64_t>) return ElementType::kUint64;
  static_assert(sizeof(T) == 1 || std::is_arithmetic_v<T>, "no element type");
  return ElementType::kBytes;
}

template <typename T>
Array ArrayOf(std::span<T> values) {
  return {values.data(), static_cast<int64_t>(values.size()), TypeOf<T>()};
}
template <typename T>
ConstArray ArrayOf(std::span<const T> values) {
  return {values.data(), static_cast<int64_t>(values.size()), TypeOf<T>()};
}

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_ARRAY_H_
