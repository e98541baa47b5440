#include "coordinator/rpc/tokens.h"

#include <gtest/gtest.h>

#include <string>

namespace filigree::coordinator {
namespace {

constexpr char kFile[] =
    "# a comment\n\nadmin 0123456789abcdef\r\n\treader\t  fedcba9876543210 \nworker:a aaaaaaaaaaaaaaaaaaaa";

TEST(Tokens, EveryLineIsAnEntry) {
  const auto tokens = Tokens::Parse(kFile, "tokens");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->Find("0123456789abcdef")->role, Role::kAdmin);
  EXPECT_EQ(tokens->Find("fedcba9876543210")->role, Role::kReader);
  EXPECT_EQ(tokens->Find("aaaaaaaaaaaaaaaaaaaa")->worker, "a");
  for (const char* wrong : {"", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF", "admin"})
    EXPECT_FALSE(tokens->Find(wrong).has_value()) << wrong;
}

TEST(Tokens, WrongLinesAreNamedAndNotShown) {
  const auto refused = [](const std::string& text, const std::string& part) {
    const absl::Status status = Tokens::Parse(text, "tokens").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    EXPECT_EQ(std::string(status.message()).find("secret"), std::string::npos) << status;
  };
  refused("", "no token");
  refused("# only\n", "no token");
  refused("admin 0123456789abcdef\nroot secret-secret-secret\n", "tokens:2");
  refused("everything secret-secret-secret", "tokens:1");
  refused("worker: secret-secret-secret", "tokens:1");
  refused("worker:a/b secret-secret-secret", "tokens:1");
  refused("admin", "tokens:1");
  refused("admin short-secret", "tokens:1");
  refused("admin secret-secret-secret more", "tokens:1");
  refused("admin " + std::string(513, 'x'), "tokens:1");
  refused("admin secret-secret-\x01secret", "tokens:1");
  refused("admin secret-secret-secret\nreader secret-secret-secret", "twice");
}

}  // namespace
}  // namespace filigree::coordinator
