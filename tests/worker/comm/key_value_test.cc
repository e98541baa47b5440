#include "worker/comm/key_value.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace filigree::comm {
namespace {

using std::chrono::milliseconds;
using Store = std::shared_ptr<KeyValueStore>;

std::string EmptyFolder() {
  std::string folder = testing::TempDir() + "key-values";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

class KeyValue : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { store_ = std::string(GetParam()) == "memory" ? MemoryStore() : *FolderStore(EmptyFolder()); }
  Store store_;
};
INSTANTIATE_TEST_SUITE_P(Stores, KeyValue, testing::Values("memory", "folder"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(KeyValue, KeysAndValuesHoldAnyBytes) {
  const std::string key("a/../b\0 \n%c", 11), value("\0\xff\n", 3);
  ASSERT_EQ(store_->Set(key, value), absl::OkStatus());
  ASSERT_EQ(store_->Set("a/../b", ""), absl::OkStatus());
  EXPECT_EQ(*store_->Get(key, milliseconds(0)), value);
  EXPECT_EQ(*store_->Get("a/../b", milliseconds(0)), "");
}

TEST_P(KeyValue, AKeyIsWrittenOnce) {
  ASSERT_EQ(store_->Set("key", "one"), absl::OkStatus());
  EXPECT_EQ(store_->Set("key", "one"), absl::OkStatus());
  const absl::Status other = store_->Set("key", "two");
  EXPECT_EQ(other.code(), absl::StatusCode::kAlreadyExists) << other;
  EXPECT_NE(std::string(other.message()).find("key"), std::string::npos);
  EXPECT_EQ(*store_->Get("key", milliseconds(0)), "one");
}

TEST_P(KeyValue, AValueIsWaitedFor) {
  auto value = std::async(std::launch::async, [&] { return store_->Get("late", milliseconds(20'000)); });
  std::this_thread::sleep_for(milliseconds(100));
  ASSERT_EQ(store_->Set("late", "here"), absl::OkStatus());
  EXPECT_EQ(*value.get(), "here");
}

TEST_P(KeyValue, AKeyThatDoesNotComeIsNamed) {
  const absl::Status status = store_->Get("never", milliseconds(30)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(std::string(status.message()).find("key never"), std::string::npos) << status;
}

// Of many who write a key at the same time one wins, and all read what that one wrote.
TEST_P(KeyValue, OneWriterWins) {
  for (int round = 0; round < 20; ++round) {
    const std::string key = "round " + std::to_string(round);
    std::vector<std::future<bool>> writers;
    writers.reserve(4);
    for (int i = 0; i < 4; ++i) {
      writers.push_back(std::async(
          std::launch::async, [&, i] { return store_->Set(key, std::string(5000, static_cast<char>('a' + i))).ok(); }));
    }
    int winners = 0;
    char winner = 0;
    for (int i = 0; i < 4; ++i) {
      if (!writers[static_cast<size_t>(i)].get()) continue;
      ++winners;
      winner = static_cast<char>('a' + i);
    }
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(*store_->Get(key, milliseconds(0)), std::string(5000, winner));
  }
}

TEST(FolderStores, AFolderThatIsNotThereIsRefused) {
  const absl::Status status = FolderStore(EmptyFolder() + "/not/there").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find("/not/there"), std::string::npos) << status;
}

// As ranks that are threads have them.
TEST(FolderStores, SeveralInOneProcessDoNotDisturbEachOther) {
  const std::string folder = EmptyFolder();
  constexpr int kStores = 4, kKeys = 200;
  std::vector<std::future<void>> writers;
  for (int s = 0; s < kStores; ++s) {
    writers.push_back(std::async(std::launch::async, [&folder, s] {
      const Store store = *FolderStore(folder);
      for (int k = 0; k < kKeys; ++k) {
        const std::string key = std::to_string(s) + "/" + std::to_string(k);
        EXPECT_EQ(store->Set(key, key + " of " + std::to_string(s)), absl::OkStatus());
      }
    }));
  }
  for (std::future<void>& writer : writers) writer.get();
  const Store store = *FolderStore(folder);
  for (int s = 0; s < kStores; ++s) {
    for (int k = 0; k < kKeys; ++k) {
      const std::string key = std::to_string(s) + "/" + std::to_string(k);
      EXPECT_EQ(store->Get(key, milliseconds(0)).value(), key + " of " + std::to_string(s));
    }
  }
}

}  // namespace
}  // namespace filigree::comm
