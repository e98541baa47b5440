#include "worker/comm/array.h"

#include "kernels/base/check.h"

namespace filigree::comm {

size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kBytes:
      return 1;
    case ElementType::kBf16:
      return 2;
    case ElementType::kFloat32:
    case ElementType::kInt32:
    case ElementType::kUint32:
      return 4;
    case ElementType::kFloat64:
    case ElementType::kInt64:
    case ElementType::kUint64:
      return 8;
  }
  CHECK(false, "element type {}", static_cast<int>(type));
}

const char* Name(ElementType type) {
  switch (type) {
    case ElementType::kBytes:
      return "bytes";
    case ElementType::kBf16:
      return "bf16";
    case ElementType::kFloat32:
      return "float32";
    case ElementType::kFloat64:
      return "float64";
    case ElementType::kInt32:
      return "int32";
    case ElementType::kInt64:
      return "int64";
    case ElementType::kUint32:
      return "uint32";
    case ElementType::kUint64:
      return "uint64";
  }
  return "an unknown type";
}

}  // namespace filigree::comm
