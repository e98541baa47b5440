#include "proto/rpc/status.h"

#include <string>

namespace filigree::rpc {
namespace {

constexpr size_t kMostWords = 4096;

std::string Printable(absl::string_view text) {
  std::string words(text.substr(0, kMostWords));
  for (char& c : words)
    if (c < ' ' || c > '~') c = c == '\n' || c == '\t' ? ' ' : '?';
  return words;
}

}  // namespace

// Both libraries number their codes after the same list (google.rpc.Code).
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(static_cast<int>(status.code())), Printable(status.message())};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > grpc::StatusCode::OK && code <= grpc::StatusCode::UNAUTHENTICATED;
  return {known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown, Printable(status.error_message())};
}

}  // namespace filigree::rpc
