#ifndef FILIGREE_WORKER_DATA_SHA256_H_
#define FILIGREE_WORKER_DATA_SHA256_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace filigree::data {

// SHA-256 of bytes that come in pieces. Movable, not copyable.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&& other) noexcept;
  Sha256& operator=(Sha256&& other) noexcept;
  ~Sha256();

  void Add(const void* data, size_t bytes);
  // 64 hex digits, lower case. Ends the object's use.
  std::string Hex();

 private:
  void* context_;
};

std::string Sha256Hex(std::string_view bytes);

// Of a whole file, in constant memory. NotFound or DataLoss where it cannot be read.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_SHA256_H_
