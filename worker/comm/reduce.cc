#include "worker/comm/reduce.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/base/check.h"

namespace filigree::comm {
namespace {

// Elements that are reduced at a time: the partial results of a deep tree stay in L1, and loops of this length are
// SIMD.
constexpr int64_t kBlock = 512;

struct Sum {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};
// The second condition holds for a NaN only; where b is one, the first fails and b is taken.
struct Min {
  template <typename T>
  T operator()(T a, T b) const {
    return a < b || !(a == a) ? a : b;  // NOLINT(misc-redundant-expression)
  }
};
struct Max {
  template <typename T>
  T operator()(T a, T b) const {
    return a > b || !(a == a) ? a : b;  // NOLINT(misc-redundant-expression)
  }
};

template <typename T, typename Op>
void Combine(const T* a, const T* b, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = Op()(a[i], b[i]);
}

// The result over `parts` at [begin, begin + count): a pointer to the part where there is one only, else `to`, which is
// followed by a block for each level below.
template <typename T, typename Op>
const T* Tree(std::span<const void* const> parts, int64_t begin, int64_t count, T* to) {
  if (parts.size() == 1) return static_cast<const T*>(parts[0]) + begin;
  const size_t left = std::bit_ceil(parts.size()) / 2;
  const T* a = Tree<T, Op>(parts.first(left), begin, count, to);
  const T* b = Tree<T, Op>(parts.subspan(left), begin, count, to + kBlock);
  Combine<T, Op>(a, b, count, to);
  return to;
}

template <typename T, typename Op>
void Reduce(std::span<const void* const> parts, int64_t count, T* out) {
  if (parts.size() == 1) {
    if (parts[0] != out) std::memmove(out, parts[0], static_cast<size_t>(count) * sizeof(T));
    return;
  }
  if (parts.size() == 2) {
    Combine<T, Op>(static_cast<const T*>(parts[0]), static_cast<const T*>(parts[1]), count, out);
    return;
  }
  std::vector<T> blocks(kBlock * std::bit_width(parts.size() * 2));
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    const T* result = Tree<T, Op>(parts, begin, n, blocks.data());
    if (result != out + begin) std::memcpy(out + begin, result, static_cast<size_t>(n) * sizeof(T));
  }
}

template <typename T>
void Reduce(std::span<const void* const> parts, int64_t count, ReduceOp op, void* out) {
  switch (op) {
    case ReduceOp::kSum:
      return Reduce<T, Sum>(parts, count, static_cast<T*>(out));
    case ReduceOp::kMin:
      return Reduce<T, Min>(parts, count, static_cast<T*>(out));
    case ReduceOp::kMax:
      return Reduce<T, Max>(parts, count, static_cast<T*>(out));
  }
}

}  // namespace

bool Reducible(ElementType type) { return type != ElementType::kBytes && type != ElementType::kBf16; }

const char* Name(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMin:
      return "min";
    case ReduceOp::kMax:
      return "max";
  }
  return "an unknown reduction";
}

void ReduceTree(std::span<const void* const> parts, int64_t count, ElementType type, ReduceOp op, void* out) {
  switch (type) {
    case ElementType::kFloat32:
      return Reduce<float>(parts, count, op, out);
    case ElementType::kFloat64:
      return Reduce<double>(parts, count, op, out);
    case ElementType::kInt32:
      return Reduce<int32_t>(parts, count, op, out);
    case ElementType::kInt64:
      return Reduce<int64_t>(parts, count, op, out);
    case ElementType::kUint32:
      return Reduce<uint32_t>(parts, count, op, out);
    case ElementType::kUint64:
      return Reduce<uint64_t>(parts, count, op, out);
    case ElementType::kBytes:
    case ElementType::kBf16:
      break;
  }
  CHECK(false, "{} are not reduced", Name(type));
}

}  // namespace filigree::comm
