#include "worker/data/token_stream.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "tests/worker/data/temp_folder.h"
#include "worker/data/sha256.h"
#include "worker/data/shard_writer.h"

namespace filigree::data {
namespace {

std::string Shard(int32_t magic, int32_t version, int32_t count, const std::vector<uint16_t>& tokens) {
  std::string bytes(kShardHeaderBytes, '\0');
  const int32_t header[] = {magic, version, count};
  std::memcpy(bytes.data(), header, sizeof(header));
  bytes.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * 2);
  return bytes;
}

// Opens one shard of these bytes and expects a refusal that names the file and says `what`.
void ExpectRefused(const std::string& bytes, const std::string& what) {
  const TempFolder folder;
  const std::string path = folder.Write("train_000000.bin", bytes);
  const absl::StatusOr<TokenStream> stream = TokenStream::Open({path});
  ASSERT_TRUE(absl::IsDataLoss(stream.status())) << what << ": " << stream.status();
  const std::string message(stream.status().message());
  EXPECT_EQ(message.find(path), 0) << message;
  EXPECT_NE(message.find(what), std::string::npos) << message;
  EXPECT_NE(message.find("prepare"), std::string::npos) << message;
}

TEST(TokenStreamTest, ReadsWhatTheLayoutSays) {
  const TempFolder folder;
  const std::string path = folder.Write("a.bin", Shard(20240520, 1, 3, {7, 65535, 0}));
  const TokenStream stream = TokenStream::Open({path}).value();
  ASSERT_EQ(stream.size(), 3);
  int32_t tokens[3];
  stream.Copy(0, 3, tokens);
  EXPECT_EQ(tokens[0], 7);
  EXPECT_EQ(tokens[1], 65535);
  EXPECT_EQ(tokens[2], 0);
}

TEST(TokenStreamTest, RefusesForeignAndDamagedShards) {
  ExpectRefused("", "shorter than the header");
  ExpectRefused(std::string(kShardHeaderBytes - 1, '\0'), "shorter than the header");
  ExpectRefused(Shard(20240801, 7, 2, {1, 2}), "20240520");
  ExpectRefused(std::string(5000, 'x'), "magic");
  ExpectRefused(Shard(20240520, 7, 2, {1, 2}), "version 7");
  ExpectRefused(Shard(20240520, 1, 3, {1, 2}), "cut short");
  ExpectRefused(Shard(20240520, 1, 1, {1, 2}), "bytes too many");
  ExpectRefused(Shard(20240520, 1, 2, {1, 2}).substr(0, kShardHeaderBytes + 3), "cut short");
  ExpectRefused(Shard(20240520, 1, -1, {1, 2}), "bytes too many");
  ExpectRefused(Shard(20240520, 1, INT32_MIN, {}), "-2147483648");
  ExpectRefused(Shard(20240520, 1, INT32_MAX, {1, 2}), "cut short");
}

TEST(TokenStreamTest, MissingFilesAndFoldersAreNamed) {
  const TempFolder folder;
  EXPECT_TRUE(absl::IsNotFound(TokenStream::Open({folder / "nothing.bin"}).status()));
  EXPECT_TRUE(absl::IsDataLoss(TokenStream::Open({folder.path()}).status())) << "a folder is no shard";
}

TEST(TokenStreamTest, ShardsAreOneArray) {
  const TempFolder folder;
  for (const int64_t shard_tokens : {1, 2, 3, 7, 100}) {
    ShardWriter writer(folder.path(), "s", shard_tokens);
    std::vector<uint16_t> tokens;
    for (uint16_t i = 0; i < 23; ++i) tokens.push_back(static_cast<uint16_t>(i * 1000));
    ASSERT_TRUE(writer.Append(std::span(tokens).first(5)).ok());
    ASSERT_TRUE(writer.Append(std::span(tokens).subspan(5)).ok());
    std::vector<std::string> paths;
    const std::vector<FileEntry> shards = writer.Finish().value();
    for (const FileEntry& shard : shards) {
      paths.push_back(folder / shard.name);
      EXPECT_EQ(ReadAll(paths.back()).size(), static_cast<size_t>(shard.bytes));
      EXPECT_EQ(Sha256OfFile(paths.back()).value(), shard.sha256);
    }
    EXPECT_EQ(paths.size(), static_cast<size_t>((23 + shard_tokens - 1) / shard_tokens));
    const TokenStream stream = TokenStream::Open(paths).value();
    ASSERT_EQ(stream.size(), 23);
    for (int begin = 0; begin <= 23; ++begin) {
      for (int count = 0; begin + count <= 23; ++count) {
        std::vector<int32_t> out(static_cast<size_t>(count) + 1, -1);
        stream.Copy(begin, count, out.data());
        for (int i = 0; i < count; ++i) ASSERT_EQ(out[i], tokens[begin + i]);
        ASSERT_EQ(out[count], -1) << "wrote too far";
      }
    }
  }
}

TEST(TokenStreamTest, AnEmptyShardInTheMiddleIsPassedOver) {
  const TempFolder folder;
  const TokenStream stream =
      TokenStream::Open({folder.Write("a", Shard(20240520, 1, 2, {1, 2})), folder.Write("b", Shard(20240520, 1, 0, {})),
                         folder.Write("c", Shard(20240520, 1, 1, {3}))})
          .value();
  int32_t tokens[3];
  stream.Copy(0, 3, tokens);
  EXPECT_EQ(tokens[2], 3);
  stream.Copy(2, 1, tokens);
  EXPECT_EQ(tokens[0], 3);
}

TEST(TokenStreamTest, ATokenBeyondTheVocabularyIsNamed) {
  const TempFolder folder;
  const TokenStream stream = TokenStream::Open({folder.Write("a", Shard(20240520, 1, 3, {1, 2, 2000})),
                                                folder.Write("b", Shard(20240520, 1, 3, {5, 2048, 6}))})
                                 .value();
  EXPECT_TRUE(stream.CheckVocab(1, 2049).ok());
  EXPECT_TRUE(stream.CheckVocab(0, 2048).ok());
  const absl::Status status = stream.CheckVocab(1, 2048);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_NE(std::string(status.message()).find("token 2048 at position 1"), std::string::npos) << status;
}

// A file-size limit fails a write as a full disk does: in the middle of a file.
TEST(ShardWriterTest, AFullDiskIsAnErrorThatNamesTheFile) {
  const TempFolder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {64 * 1024, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  ShardWriter writer(folder.path(), "train", 1'000'000);
  absl::Status status = writer.Append(std::vector<uint16_t>(500'000));
  if (status.ok()) status = writer.Finish().status();
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(std::string(status.message()).find("train_000000.bin"), std::string::npos) << status;
}

}  // namespace
}  // namespace filigree::data
