#include "worker/data/prepare.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/worker/data/random_text.h"
#include "tests/worker/data/temp_folder.h"
#include "worker/data/corpus.h"

namespace filigree::data {
namespace {

namespace fs = std::filesystem;

constexpr int kFiles = 30;

// Folders with thirty files of something like code.
void WriteSources(const TempFolder& folder, uint64_t seed) {
  std::mt19937_64 rng(seed);
  for (int i = 0; i < kFiles; ++i) {
    folder.Write("in/" + std::string(i % 3 == 0 ? "a/b/" : "c/") + std::to_string(i) + ".py", RandomCode(rng, 60));
  }
}

PrepareOptions Options(const TempFolder& folder) {
  PrepareOptions options;
  options.inputs = {folder / "in"};
  options.out = folder / "out";
  options.vocab = 400;
  options.val_fraction = 0.2;
  options.threads = 2;
  return options;
}

absl::StatusOr<Manifest> RunPrepare(const PrepareOptions& options) { return Prepare(options, {}); }

// Every file of a folder, by name.
std::map<std::string, std::string> Contents(const std::string& dir) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file()) contents[fs::relative(entry.path(), dir).string()] = ReadAll(entry.path().string());
  }
  return contents;
}

bool Says(const absl::Status& status, const std::string& what) {
  return std::string(status.message()).find(what) != std::string::npos;
}

TEST(PrepareTest, TheCorpusHoldsEveryDocumentWhole) {
  const TempFolder folder;
  WriteSources(folder, 1);
  const absl::StatusOr<Manifest> manifest = RunPrepare(Options(folder));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto corpus = Corpus::Open(folder / "out");
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(FormatManifest((*corpus)->manifest()), FormatManifest(*manifest))
      << "what was written is what was returned";
  EXPECT_EQ(manifest->train.documents + manifest->validation.documents, kFiles);
  EXPECT_GT(manifest->validation.documents, 0);

  std::istringstream lines(ReadAll(folder / "out/documents.jsonl"));
  int documents = 0;
  for (std::string line; std::getline(lines, line); ++documents) {
    const auto document = nlohmann::json::parse(line);
    const bool train = document["split"] == "train";
    const TokenStream& stream = train ? (*corpus)->train() : (*corpus)->validation();
    std::vector<int32_t> tokens(document["tokens"].get<size_t>());
    stream.Copy(document["begin"], static_cast<int>(tokens.size()), tokens.data());
    EXPECT_EQ(tokens.back(), (*corpus)->tokenizer().end_of_text());
    const std::vector<uint16_t> ids(tokens.begin(), tokens.end() - 1);
    EXPECT_EQ((*corpus)->tokenizer().Decode(ids), ReadAll(document["path"]));
  }
  EXPECT_EQ(documents, kFiles);
  const Baselines& b = manifest->baselines;
  EXPECT_LT(b.bigram_nats, b.unigram_nats);
  EXPECT_LT(b.unigram_nats, b.uniform_nats);
}

TEST(PrepareTest, ThreadsAndRepetitionChangeNoByte) {
  const TempFolder folder;
  WriteSources(folder, 2);
  PrepareOptions options = Options(folder);
  options.shard_tokens = 1000;
  options.threads = 1;
  ASSERT_TRUE(RunPrepare(options).ok());
  const auto first = Contents(folder / "out");
  EXPECT_GT(first.size(), 8u) << "several shards";
  for (const int threads : {2, 4, 1}) {
    options.threads = threads;
    const absl::StatusOr<Manifest> again = RunPrepare(options);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(Contents(folder / "out"), first) << threads << " threads";
  }
}

TEST(PrepareTest, ASecondRunReplacesTheFirstAndLeavesForeignFilesAlone) {
  const TempFolder folder;
  WriteSources(folder, 3);
  PrepareOptions options = Options(folder);
  options.shard_tokens = 500;
  ASSERT_TRUE(RunPrepare(options).ok());
  folder.Write("out/notes.txt", "mine");
  folder.Write("out/train_notes.bin", "mine");
  options.shard_tokens = 1'000'000;
  ASSERT_TRUE(RunPrepare(options).ok());
  EXPECT_FALSE(fs::exists(folder / "out/train_000001.bin")) << "a shard without a successor";
  EXPECT_EQ(ReadAll(folder / "out/notes.txt"), "mine");
  EXPECT_EQ(ReadAll(folder / "out/train_notes.bin"), "mine");
  EXPECT_TRUE(Corpus::Open(folder / "out").ok());
}

// The old corpus is taken apart by then: the folder has to stay one that a second try may write into.
TEST(PrepareTest, AnErrorWhileTheNewCorpusTakesTheOldOnesPlaceCanBeMended) {
  const TempFolder folder;
  WriteSources(folder, 3);
  ASSERT_TRUE(RunPrepare(Options(folder)).ok());
  fs::remove(folder / "out/val_000000.bin");
  folder.Write("out/val_000000.bin/in-the-way", "a folder with a shard's name");
  EXPECT_FALSE(RunPrepare(Options(folder)).ok());
  EXPECT_TRUE(absl::IsNotFound(Corpus::Open(folder / "out").status()));
  fs::remove_all(folder / "out/val_000000.bin");
  PrepareOptions mistyped = Options(folder);
  mistyped.inputs = {folder / "nowhere"};
  EXPECT_FALSE(RunPrepare(mistyped).ok()) << "and that may fail as well";
  const absl::Status again = RunPrepare(Options(folder)).status();
  EXPECT_TRUE(again.ok()) << again;
  EXPECT_TRUE(Corpus::Open(folder / "out").ok());
}

TEST(PrepareTest, RefusesAFolderOfOthersAndChangesNothing) {
  const TempFolder folder;
  WriteSources(folder, 4);
  folder.Write("out/thesis.tex", "ten years of work");
  const absl::Status status = RunPrepare(Options(folder)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_TRUE(Says(status, "thesis.tex") && Says(status, "--out")) << status;
  EXPECT_EQ(Contents(folder / "out").size(), 1u);
  folder.Write("out/manifest.json", R"({"format": "something else"})");
  EXPECT_TRUE(absl::IsFailedPrecondition(RunPrepare(Options(folder)).status()));
  EXPECT_EQ(Contents(folder / "out").size(), 2u);
}

TEST(PrepareTest, AFailureLeavesTheOlderCorpusWhole) {
  const TempFolder folder;
  WriteSources(folder, 5);
  ASSERT_TRUE(RunPrepare(Options(folder)).ok());
  const auto before = Contents(folder / "out");
  PrepareOptions options = Options(folder);
  options.vocab = 60000;
  const absl::Status status = RunPrepare(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(Contents(folder / "out"), before);
  options = Options(folder);
  options.inputs = {folder / "nowhere"};
  EXPECT_TRUE(absl::IsNotFound(RunPrepare(options).status()));
  EXPECT_EQ(Contents(folder / "out"), before);
}

TEST(PrepareTest, AnInterruptedFolderIsNoCorpusAndIsTakenOver) {
  const TempFolder folder;
  WriteSources(folder, 6);
  ASSERT_TRUE(RunPrepare(Options(folder)).ok());
  // As a kill in the commit leaves it: no manifest, some files in place, some still staged.
  fs::create_directory(folder / "out/.filigree-partial");
  fs::rename(folder / "out/vocab.bpe", folder / "out/.filigree-partial/vocab.bpe");
  fs::remove(folder / "out/manifest.json");
  const auto corpus = Corpus::Open(folder / "out");
  EXPECT_TRUE(absl::IsNotFound(corpus.status()) && Says(corpus.status(), "interrupted")) << corpus.status();
  ASSERT_TRUE(RunPrepare(Options(folder)).ok());
  EXPECT_TRUE(Corpus::Open(folder / "out").ok());
  EXPECT_FALSE(fs::exists(folder / "out/.filigree-partial"));
}

TEST(PrepareTest, OneProcessAtATimeWritesAFolder) {
  const TempFolder folder;
  WriteSources(folder, 7);
  fs::create_directory(folder / "out");
  const int other = open((folder / "out").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(other, LOCK_EX), 0);
  const absl::Status status = RunPrepare(Options(folder)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status) && Says(status, "another")) << status;
  close(other);
  EXPECT_TRUE(RunPrepare(Options(folder)).ok());
}

TEST(PrepareTest, AVocabularyTooLargeForTheTextSaysWhatWouldWork) {
  const TempFolder folder;
  folder.Write("in/a.py", "abcd");
  folder.Write("in/b.py", "abce");
  PrepareOptions options = Options(folder);
  const absl::Status status = RunPrepare(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(Says(status, "--vocab 260 or less")) << "three merges make abcd one token: " << status;
  EXPECT_FALSE(fs::exists(options.out)) << "a folder made for nothing is gone again";
  options.vocab = 260;
  EXPECT_TRUE(RunPrepare(options).ok());
}

TEST(PrepareTest, MissingAndEmptyInputSayWhatIsWrong) {
  const TempFolder folder;
  PrepareOptions options = Options(folder);
  EXPECT_TRUE(absl::IsNotFound(RunPrepare(options).status()) && Says(RunPrepare(options).status(), folder / "in"));
  fs::create_directory(folder / "in");
  EXPECT_TRUE(absl::IsFailedPrecondition(RunPrepare(options).status()) &&
              Says(RunPrepare(options).status(), "0 of 0 files"));
  folder.Write("in/a.txt", "not asked for");
  EXPECT_TRUE(Says(RunPrepare(options).status(), ".py"));
  folder.Write("in/a.py", "x = 1\n");
  EXPECT_TRUE(Says(RunPrepare(options).status(), "1 of 1 files")) << "one file cannot be on both sides";
  folder.Write("in/b.py", "x = 1\n");
  EXPECT_TRUE(Says(RunPrepare(options).status(), "1 duplicate")) << RunPrepare(options).status();
  EXPECT_FALSE(fs::exists(options.out));
}

TEST(PrepareTest, ChecksOptions) {
  const TempFolder folder;
  WriteSources(folder, 8);
  const auto refuses = [&](auto change, const std::string& name) {
    PrepareOptions options = Options(folder);
    change(options);
    const absl::Status status = RunPrepare(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status) && Says(status, name)) << name << ": " << status;
  };
  refuses([](PrepareOptions& o) { o.vocab = 256; }, "--vocab 256");
  refuses([](PrepareOptions& o) { o.vocab = 65536; }, "--vocab 65536");
  refuses([](PrepareOptions& o) { o.val_fraction = 0; }, "--val-fraction");
  refuses([](PrepareOptions& o) { o.val_fraction = 1; }, "--val-fraction");
  refuses([](PrepareOptions& o) { o.val_fraction = std::nan(""); }, "--val-fraction");
  refuses([](PrepareOptions& o) { o.seed = -1; }, "--seed");
  refuses([](PrepareOptions& o) { o.threads = -1; }, "--threads");
  refuses([](PrepareOptions& o) { o.shard_tokens = 0; }, "--shard-tokens");
  refuses([](PrepareOptions& o) { o.shard_tokens = int64_t{1} << 31; }, "--shard-tokens");
  refuses([](PrepareOptions& o) { o.max_file_bytes = 0; }, "--max-file-bytes");
  refuses([](PrepareOptions& o) { o.out = ""; }, "--out");
}

// The gigabyte is a hole in a file: it is refused by its size, before anything of it is read.
TEST(PrepareTest, AGigabyteInOneLineIsLeftOutUnreadAndNamed) {
  const TempFolder folder;
  WriteSources(folder, 9);
  const std::string line = folder.Write("in/line.py", "x");
  ASSERT_EQ(truncate(line.c_str(), int64_t{1} << 30), 0);
  const absl::StatusOr<Manifest> manifest = RunPrepare(Options(folder));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->dropped.too_large, 1);
  EXPECT_NE(ReadAll(folder / "out/dropped.txt").find("too large: " + line + ": 1073741824 bytes"), std::string::npos);
}

// Below the limit a line is text like any other, however long: neither time nor memory may grow faster than it.
TEST(PrepareTest, AFileOfOneLongLineIsPrepared) {
  const TempFolder folder;
  std::mt19937_64 rng(10);
  folder.Write("in/letters.py", std::string(3'000'000, 'a'));
  std::string text;
  while (text.size() < 2'000'000) text += RandomWord(rng, 9, 26);
  folder.Write("in/random.py", text);
  PrepareOptions options = Options(folder);
  options.vocab = 300;
  const absl::StatusOr<Manifest> manifest = RunPrepare(options);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->train.documents + manifest->validation.documents, 2);
}

TEST(PrepareTest, AFileThatIsNotUtf8IsNamedAndCounted) {
  const TempFolder folder;
  WriteSources(folder, 11);
  const std::string latin = folder.Write("in/latin.py", "name = 'Andr\xE9'\n");
  const std::string binary = folder.Write("in/binary.py", std::string("\x7F"
                                                                      "ELF\0\0",
                                                                      6));
  folder.Write("in/empty.py", "");
  const absl::StatusOr<Manifest> manifest = RunPrepare(Options(folder));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->dropped.not_utf8, 1);
  EXPECT_EQ(manifest->dropped.binary, 1);
  EXPECT_EQ(manifest->dropped.empty, 1);
  EXPECT_EQ(manifest->train.documents + manifest->validation.documents, kFiles);
  const std::string dropped = ReadAll(folder / "out/dropped.txt");
  EXPECT_NE(dropped.find("not UTF-8: " + latin + ": byte 0xe9 at 12"), std::string::npos) << dropped;
  EXPECT_NE(dropped.find("binary: " + binary), std::string::npos) << dropped;
}

TEST(PrepareTest, WhatItWroteIsNoInputOfTheNextRun) {
  const TempFolder folder;
  WriteSources(folder, 12);
  PrepareOptions options = Options(folder);
  options.inputs = {folder.path()};
  options.extensions = {};
  ASSERT_TRUE(RunPrepare(options).ok());
  const auto first = Contents(options.out);
  ASSERT_TRUE(RunPrepare(options).ok());
  EXPECT_EQ(Contents(options.out), first);
}

TEST(PrepareTest, AFullDiskIsAnErrorAndLosesNothing) {
  const TempFolder folder;
  WriteSources(folder, 13);
  ASSERT_TRUE(RunPrepare(Options(folder)).ok());
  const auto before = Contents(folder / "out");
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = RunPrepare(Options(folder)).status();
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(Contents(folder / "out"), before);
}

// Root may do anything, so a test that runs as root becomes nobody for a while.
class AsNobody {
 public:
  AsNobody() : root_(geteuid() == 0) {
    if (root_) {
      EXPECT_EQ(seteuid(65534), 0);
    }
  }
  ~AsNobody() {
    if (root_) {
      EXPECT_EQ(seteuid(0), 0);
    }
  }

 private:
  bool root_;
};

TEST(PrepareTest, NoPermissionToWriteIsAnErrorThatNamesTheFolder) {
  const TempFolder folder;
  WriteSources(folder, 14);
  ASSERT_EQ(chmod(folder.path().c_str(), 0555), 0);
  absl::Status status;
  {
    const AsNobody nobody;
    status = RunPrepare(Options(folder)).status();
  }
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(status) && Says(status, folder / "out")) << status;
}

TEST(PrepareTest, UnreadableFilesAreCountedAndAnUnreadableInputIsAnError) {
  const TempFolder folder;
  WriteSources(folder, 15);
  const std::string secret = folder.Write("in/secret.py", "key = 1\n");
  folder.Write("in/closed/file.py", "x = 2\n");
  fs::create_directory(folder / "out");
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod((folder / "out").c_str(), 0777), 0);
  ASSERT_EQ(chmod(secret.c_str(), 0), 0);
  ASSERT_EQ(chmod((folder / "in/closed").c_str(), 0), 0);
  absl::StatusOr<Manifest> manifest = absl::UnknownError("not run");
  absl::Status closed_input;
  {
    const AsNobody nobody;
    manifest = RunPrepare(Options(folder));
    PrepareOptions options = Options(folder);
    options.inputs = {folder / "in/closed"};
    closed_input = RunPrepare(options).status();
  }
  ASSERT_EQ(chmod((folder / "in/closed").c_str(), 0755), 0);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->dropped.unreadable, 2);
  EXPECT_NE(ReadAll(folder / "out/dropped.txt").find(secret), std::string::npos);
  EXPECT_TRUE(absl::IsPermissionDenied(closed_input)) << closed_input;
}

}  // namespace
}  // namespace filigree::data
