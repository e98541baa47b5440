#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "worker/interop/crc32.h"
#include "worker/interop/zip_reader.h"
#include "worker/interop/zip_writer.h"

// The zip writer and reader against each other, published check values, and archives that mean harm.

namespace filigree::interop {
namespace {

class TextFile : public checkpoint::WritableFile {
 public:
  absl::Status Append(const void* data, size_t n) override {
    text.append(static_cast<const char*>(data), n);
    return absl::OkStatus();
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }
  std::string text;
};

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string MakeZip(uint64_t zip64_from = 0xffffffff) {
  TextFile file;
  ZipWriter zip(file, zip64_from);
  EXPECT_TRUE(zip.Add("archive/data.pkl", std::string("pickle")).ok());
  EXPECT_TRUE(zip.Add("archive/data/0", std::string(1000, 'a')).ok());
  EXPECT_TRUE(zip.Add("archive/empty", std::string()).ok());
  EXPECT_TRUE(zip.Finish().ok());
  return file.text;
}

TEST(Crc32Test, PublishedValuesAndPieces) {
  EXPECT_EQ(Crc32(0, Bytes("123456789")), 0xcbf43926u);
  EXPECT_EQ(Crc32(0, Bytes("")), 0u);
  const std::string text = "The quick brown fox jumps over the lazy dog";
  EXPECT_EQ(Crc32(0, Bytes(text)), 0x414fa339u);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32(Crc32(0, Bytes(text.substr(0, cut))), Bytes(text.substr(cut))), 0x414fa339u);
  }
}

TEST(ZipTest, ReadsWhatItWrites) {
  for (const uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{500}, uint64_t{0}}) {
    SCOPED_TRACE(zip64_from);
    const std::string zip = MakeZip(zip64_from);
    auto entries = ReadZip(Bytes(zip), "x.zip");
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->size(), 3u);
    EXPECT_EQ((*entries)[0].name, "archive/data.pkl");
    EXPECT_EQ(std::string((*entries)[0].data.begin(), (*entries)[0].data.end()), "pickle");
    EXPECT_EQ(std::string((*entries)[1].data.begin(), (*entries)[1].data.end()), std::string(1000, 'a'));
    EXPECT_TRUE((*entries)[2].data.empty());
    for (const ZipEntry& entry : *entries) {
      EXPECT_TRUE(CheckCrc(entry, "x.zip").ok());
      EXPECT_EQ((entry.data.data() - Bytes(zip).data()) % 64, 0) << entry.name;
    }
    // What the visualizer's reader of slices expects: a streamed header and the end record at the very end.
    uint32_t local_size;
    std::memcpy(&local_size, zip.data() + 22, 4);
    EXPECT_EQ(local_size, 0u);
    EXPECT_EQ(zip.substr(zip.size() - 22, 4), "PK\x05\x06");
  }
}

TEST(ZipTest, EveryCutIsRefused) {
  for (const uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{500}}) {
    const std::string zip = MakeZip(zip64_from);
    for (size_t length = 0; length < zip.size(); ++length) {
      EXPECT_TRUE(absl::IsDataLoss(ReadZip(Bytes(zip.substr(0, length)), "x").status())) << length;
    }
  }
}

TEST(ZipTest, EveryFlipIsRefusedOrHarmless) {
  const std::string zip = MakeZip(500);
  const auto whole = ReadZip(Bytes(zip), "x");
  for (size_t at = 0; at < zip.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = zip;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      auto entries = ReadZip(Bytes(changed), "x");
      if (!entries.ok()) continue;
      for (const ZipEntry& entry : *entries) {
        ASSERT_GE(entry.data.data(), Bytes(changed).data());
        ASSERT_LE(entry.data.data() + entry.data.size(), Bytes(changed).data() + changed.size());
        if (!CheckCrc(entry, "x").ok()) continue;
        bool known = false;
        for (const ZipEntry& old : *whole) known |= std::ranges::equal(old.data, entry.data);
        EXPECT_TRUE(known) << "byte " << at << " bit " << bit << " changed " << entry.name;
      }
    }
  }
}

// Replaces the n-th occurrence of `from` by `to` of the same length.
std::string Replace(std::string zip, const std::string& from, const std::string& to, int n = 0) {
  size_t at = zip.find(from);
  for (; n > 0; --n) at = zip.find(from, at + 1);
  EXPECT_NE(at, std::string::npos);
  return zip.replace(at, from.size(), to);
}

TEST(ZipTest, ArchivesThatMeanHarmAreRefused) {
  const std::string zip = MakeZip();
  const size_t directory = zip.find("PK\x01\x02");
  const auto with = [&](size_t at, uint32_t value, int bytes) {
    std::string changed = zip;
    std::memcpy(changed.data() + at, &value, bytes);
    return absl::Status(ReadZip(Bytes(changed), "x").status());
  };
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 10, 8, 2))) << "deflated";
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 8, 1, 2))) << "encrypted";
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 24, 1 << 20, 4))) << "larger than its stored size";
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 42, 0x7fffffff, 4))) << "far away";
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 42, 0xffffffff, 4))) << "zip64 without zip64";
  EXPECT_TRUE(absl::IsDataLoss(with(directory + 28, 0xffff, 2))) << "a name beyond the directory";
  EXPECT_TRUE(absl::IsDataLoss(with(zip.size() - 12, 7, 2))) << "more entries than records";
  EXPECT_TRUE(absl::IsDataLoss(with(zip.size() - 12, 2, 2))) << "fewer entries than records";
  EXPECT_TRUE(absl::IsDataLoss(with(zip.size() - 6, 0x7fffffff, 4))) << "a directory beyond the file";
  // Both names of the second entry become that of the first, of another length; then overlap.
  std::string twins = Replace(Replace(zip, "archive/empty", "archive/dataZ"), "archive/empty", "archive/dataZ");
  EXPECT_TRUE(ReadZip(Bytes(twins), "x").ok());
  const std::string other = Replace(zip, "archive/empty", "archive/dataZ");
  EXPECT_TRUE(absl::IsDataLoss(ReadZip(Bytes(other), "x").status())) << "names disagree";
  // The second directory record points at the first entry's header, under the same name.
  TextFile file;
  ZipWriter writer(file);
  EXPECT_TRUE(writer.Add("same", std::string("one")).ok());
  EXPECT_TRUE(writer.Add("same", std::string("two")).ok());
  EXPECT_TRUE(writer.Finish().ok());
  EXPECT_TRUE(absl::IsDataLoss(ReadZip(Bytes(file.text), "x").status())) << "the same name twice";
  EXPECT_TRUE(absl::IsDataLoss(ReadZip(Bytes(std::string(200000, 'x')), "x").status()));
}

TEST(ZipTest, OverlappingEntriesAreRefused) {
  TextFile file;
  ZipWriter writer(file);
  EXPECT_TRUE(writer.Add("one", std::string(100, 'a')).ok());
  EXPECT_TRUE(writer.Add("two", std::string(100, 'b')).ok());
  EXPECT_TRUE(writer.Finish().ok());
  ASSERT_TRUE(ReadZip(Bytes(file.text), "x").ok());
  const size_t directory = file.text.find("PK\x01\x02");
  const uint32_t long_enough = 150;  // reaches into the header of "two"
  std::memcpy(file.text.data() + directory + 20, &long_enough, 4);
  std::memcpy(file.text.data() + directory + 24, &long_enough, 4);
  const absl::Status status = ReadZip(Bytes(file.text), "x").status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_NE(status.message().find("overlap"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace filigree::interop
