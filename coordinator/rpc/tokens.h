#ifndef FILIGREE_COORDINATOR_RPC_TOKENS_H_
#define FILIGREE_COORDINATOR_RPC_TOKENS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace filigree::coordinator {

enum class Role : uint8_t { kReader, kAdmin, kWorker, kEverything };
const char* Name(Role role);

struct Caller {
  Role role = Role::kReader;
  std::string worker;  // the only one it may speak for; empty: any
};

// "reader", "admin", "worker" or "worker NAME" with `separator` between; false: none of them.
bool ParseRole(std::string_view text, char separator, Caller& caller);

// A token file: lines "ROLE TOKEN", ROLE being reader, admin, worker or worker:NAME; empty lines and lines that begin
// with # say nothing. Tokens are 16 to 512 visible characters.
class Tokens {
 public:
  // PermissionDenied where others may read the file, InvalidArgument with the line where it is none.
  static absl::StatusOr<Tokens> Read(const std::string& path);
  static absl::StatusOr<Tokens> Parse(std::string_view text, std::string_view where);

  // Takes equally long wherever the token differs, and whether or not it is there.
  std::optional<Caller> Find(std::string_view token) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest;
    Caller caller;
  };
  std::vector<Entry> entries_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_TOKENS_H_
