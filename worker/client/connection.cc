#include "worker/client/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace filigree::client {

using std::chrono::milliseconds;

Connection::Connection(std::string address, std::shared_ptr<grpc::Channel> channel, milliseconds patience)
    : address_(std::move(address)),
      channel_(std::move(channel)),
      stub_(v1::Coordinator::NewStub(channel_)),
      patience_(patience) {}

absl::StatusOr<Connection> Connection::Open(const rpc::ChannelOptions& options, milliseconds patience) {
  auto channel = rpc::OpenChannel(options);
  if (!channel.ok()) return channel.status();
  return Connection(options.address, *std::move(channel), patience);
}

milliseconds Connection::Left(std::chrono::steady_clock::time_point end) {
  // A moment is left to the last try, too.
  return std::max(std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now()), milliseconds(500));
}

bool Connection::TryAgain(const grpc::Status& status, std::chrono::steady_clock::time_point end) {
  const bool passes = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                      status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  constexpr milliseconds kPause(200);
  if (!passes || std::chrono::steady_clock::now() + kPause >= end) return false;
  std::this_thread::sleep_for(kPause);
  return true;
}

absl::Status Connection::Explained(const grpc::Status& status) const {
  const absl::Status plain = rpc::FromGrpc(status);
  // These two come from gRPC itself when nobody answers; what the coordinator says is whole already.
  const bool nobody = plain.code() == absl::StatusCode::kUnavailable &&
                      (plain.message().find("failed to connect") != absl::string_view::npos ||
                       plain.message().find("ocket closed") != absl::string_view::npos);
  if (nobody)
    return absl::UnavailableError(
        fmt::format("no coordinator answers at {}; start one with `filigree coordinator`, name another address with "
                    "--coordinator, or give --tls-ca where it speaks TLS ({})",
                    address_, std::string(plain.message())));
  if (plain.code() == absl::StatusCode::kDeadlineExceeded)
    return absl::DeadlineExceededError(fmt::format(
        "the coordinator at {} did not answer within {} ms; --timeout gives it longer", address_, patience_.count()));
  return plain;
}

}  // namespace filigree::client
