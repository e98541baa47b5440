#include "proto/rpc/status.h"

#include <gtest/gtest.h>

#include <string>

namespace filigree::rpc {
namespace {

TEST(Status, EveryCodeComesBackAsItWas) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status sent(static_cast<absl::StatusCode>(code), "the words");
    EXPECT_EQ(FromGrpc(ToGrpc(sent)), sent);
  }
  EXPECT_TRUE(FromGrpc(ToGrpc(absl::OkStatus())).ok());
}

// What the two lists agree on, by name and not by number.
TEST(Status, CodesMeanTheSameOnBothSides) {
  EXPECT_EQ(ToGrpc(absl::NotFoundError("")).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ToGrpc(absl::DataLossError("")).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(ToGrpc(absl::UnauthenticatedError("")).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ToGrpc(absl::AbortedError("")).error_code(), grpc::StatusCode::ABORTED);
}

TEST(Status, AnUnknownCodeIsUnknownAndNotOk) {
  EXPECT_EQ(FromGrpc({static_cast<grpc::StatusCode>(17), "x"}).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(FromGrpc({static_cast<grpc::StatusCode>(-1), "x"}).code(), absl::StatusCode::kUnknown);
}

TEST(Status, WordsAreShortAndPrintable) {
  const grpc::Status status = ToGrpc(absl::InternalError("a\nb\x1b[31m\xff" + std::string(10'000, 'x')));
  EXPECT_EQ(status.error_message().size(), 4096u);
  EXPECT_EQ(status.error_message().substr(0, 9), "a b?[31m?");
}

}  // namespace
}  // namespace filigree::rpc
