#include "worker/data/documents.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/worker/data/temp_folder.h"
#include "worker/data/find_files.h"
#include "worker/data/parse_ids.h"
#include "worker/data/sha256.h"

namespace filigree::data {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Find(const TempFolder& folder, const std::vector<std::string>& inputs,
                              const std::vector<std::string>& extensions) {
  std::vector<std::string> names;
  const FoundFiles found = FindFiles(inputs, extensions, "").value();
  for (const FoundFile& file : found.files)
    names.push_back(fs::path(file.path).lexically_relative(folder.path()).string());
  return names;
}

using Names = std::vector<std::string>;

TEST(FindFilesTest, WalksInTheOrderOfNames) {
  const TempFolder folder;
  for (const char* name : {"b.py", "a/z.py", "a/B.py", "a.py", "a/x.txt", "c/d/e/f.py", ".hidden/g.py"})
    folder.Write(name, "x");
  EXPECT_EQ(Find(folder, {folder.path()}, {".py"}),
            (Names{".hidden/g.py", "a/B.py", "a/z.py", "a.py", "b.py", "c/d/e/f.py"}));
  EXPECT_EQ(Find(folder, {folder.path() + "/"}, {".txt"}), (Names{"a/x.txt"}));
  EXPECT_EQ(Find(folder, {folder / "c", folder / "a/x.txt"}, {".py"}), (Names{"c/d/e/f.py", "a/x.txt"}))
      << "inputs in their order, a file whatever its name";
  EXPECT_EQ(Find(folder, {folder / "a"}, {}).size(), 3u);
}

TEST(FindFilesTest, LinksAreFollowedAndLoopsEnd) {
  const TempFolder folder;
  folder.Write("real/a.py", "x");
  folder.Write("elsewhere/b.py", "x");
  fs::create_directory_symlink("..", folder / "real/up");
  fs::create_directory_symlink(".", folder / "real/self");
  fs::create_directory_symlink(folder / "elsewhere", folder / "real/other");
  fs::create_symlink("a.py", folder / "real/link.py");
  fs::create_symlink("nothing", folder / "real/broken.py");
  // "up" leads to a folder that was not entered yet, and through it to "elsewhere" under its own name, which "other"
  // named first.
  EXPECT_EQ(Find(folder, {folder / "real"}, {".py"}), (Names{"real/a.py", "real/link.py", "real/other/b.py"}));
  const FoundFiles found = FindFiles({folder / "real"}, {".py"}, "").value();
  ASSERT_EQ(found.unreadable.size(), 1u);
  EXPECT_NE(found.unreadable[0].find("broken.py"), std::string::npos);
}

TEST(FindFilesTest, PassesOverWhatIsNoFileAndNeverWaits) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe.py").c_str(), 0666), 0);
  folder.Write("a.py", "x");
  EXPECT_EQ(Find(folder, {folder.path()}, {".py"}), (Names{"a.py"}));
  EXPECT_TRUE(absl::IsInvalidArgument(FindFiles({folder / "pipe.py"}, {}, "").status()));
  EXPECT_TRUE(absl::IsNotFound(FindFiles({folder / "no"}, {}, "").status()));
}

Documents ScanFolder(const TempFolder& folder, int64_t limit = 1000) {
  kernels::ThreadPool pool(2);
  return ScanFiles(FindFiles({folder.path()}, {}, "").value(), limit, pool, {});
}

TEST(ScanFilesTest, KeepsTheFirstOfDuplicates) {
  const TempFolder folder;
  folder.Write("b", "same");
  folder.Write("a", "same");
  folder.Write("c", "other");
  const Documents documents = ScanFolder(folder);
  ASSERT_EQ(documents.all.size(), 2u);
  EXPECT_EQ(documents.all[0].path, folder / "a");
  EXPECT_EQ(documents.all[0].sha256, Sha256Hex("same"));
  EXPECT_EQ(documents.dropped.duplicate, 1);
  const std::string a = folder / "a", b = folder / "b";
  EXPECT_EQ(documents.dropped_lines,
            std::string("duplicate: ").append(b).append(": the same bytes as ").append(a) + "\n");
}

TEST(ScanFilesTest, NamesTwentyOfAReasonInTheManifestAndAllInTheList) {
  const TempFolder folder;
  for (int i = 0; i < 50; ++i) folder.Write(std::to_string(i), std::string("\xFF").append(std::to_string(i)));
  const Documents documents = ScanFolder(folder);
  EXPECT_EQ(documents.dropped.not_utf8, 50);
  EXPECT_EQ(documents.dropped.examples.size(), 20u);
  EXPECT_EQ(std::count(documents.dropped_lines.begin(), documents.dropped_lines.end(), '\n'), 50);
}

std::vector<Document> Numbered(int count) {
  std::vector<Document> documents;
  documents.reserve(count);
  for (int i = 0; i < count; ++i) documents.push_back({"", 1, Sha256Hex(std::to_string(i)), false});
  return documents;
}

TEST(SplitTest, IsByContentAndNearTheFraction) {
  std::vector<Document> documents = Numbered(2000), more = Numbered(3000);
  SplitOffValidation(documents, 0.1, 1);
  SplitOffValidation(more, 0.1, 1);
  const auto count = std::count_if(documents.begin(), documents.end(), [](const Document& d) { return d.validation; });
  EXPECT_NEAR(static_cast<double>(count), 200, 60) << "sd 13.4";
  for (size_t i = 0; i < documents.size(); ++i) ASSERT_EQ(documents[i].validation, more[i].validation) << "others came";
  std::vector<Document> other_seed = Numbered(2000);
  SplitOffValidation(other_seed, 0.1, 2);
  int both = 0;
  for (size_t i = 0; i < documents.size(); ++i) both += documents[i].validation && other_seed[i].validation;
  EXPECT_LT(both, 60) << "20 expected by chance";
}

TEST(SplitTest, BothSidesGetADocument) {
  for (const double fraction : {1e-9, 0.5, 1 - 1e-9}) {
    for (const int count : {2, 3, 10}) {
      std::vector<Document> documents = Numbered(count);
      SplitOffValidation(documents, fraction, 1);
      const auto validation =
          std::count_if(documents.begin(), documents.end(), [](const Document& d) { return d.validation; });
      EXPECT_GE(validation, 1);
      EXPECT_LT(validation, count);
    }
  }
}

TEST(ReadDocumentTest, AFileThatChangedIsAnError) {
  const TempFolder folder;
  const std::string path = folder.Write("a.py", "x = 1\n");
  const Document document = ScanFolder(folder).all.at(0);
  EXPECT_EQ(ReadDocument(document).value(), "x = 1\n");
  for (const char* now : {"x = 2\n", "x = 1\ny\n", "", "x"}) {
    folder.Write("a.py", now);
    EXPECT_TRUE(absl::IsDataLoss(ReadDocument(document).status())) << now;
  }
  fs::remove(path);
  EXPECT_TRUE(absl::IsDataLoss(ReadDocument(document).status()));
}

TEST(ParseIdsTest, ReadsWhatEncodeWrites) {
  using Ids = std::vector<uint16_t>;
  EXPECT_EQ(ParseIds("1 2\n3", 10).value(), (Ids{1, 2, 3}));
  EXPECT_EQ(ParseIds("[1, 2,3]\n", 10).value(), (Ids{1, 2, 3}));
  EXPECT_EQ(ParseIds(" \n", 10).value(), Ids{});
  EXPECT_EQ(ParseIds("65534", 65535).value(), Ids{65534});
}

TEST(ParseIdsTest, ACutOffArrayIsNoArray) {
  for (const char* bad : {"[1,2,3", "1,2]", "[1],[2]", "[[1,2]]", "[", "]"})
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIds(bad, 10).status())) << bad;
  EXPECT_EQ(ParseIds("[]", 10).value(), std::vector<uint16_t>{});
}

TEST(ParseIdsTest, NamesTheFirstBadWord) {
  for (const char* bad : {"10", "-1", "x", "1.5", "0x1", "1e0", "99999999999999999999", "+1"}) {
    const absl::Status status = ParseIds(std::string("3 4 ") + bad + " y", 10).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << bad;
    EXPECT_NE(std::string(status.message()).find(std::string("\"") + bad), std::string::npos) << status;
    EXPECT_NE(std::string(status.message()).find("word 3"), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace filigree::data
